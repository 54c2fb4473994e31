"""What every `ModelFamily` promises. A new family passes by subclassing `ModelFamilyConformance` with its fixture.

Not here: how good a family is.
"""

import json
from functools import partial

import numpy as np
import onnx
import optuna
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from homeostat.records import Json
from homeostat.training.graph import IR_VERSION, OPSETS
from homeostat.training.models import FittedModel, ModelFamily
from homeostat.training.scoring import open_session

N_ROWS, N_DESIGN = 300, 5
Design = NDArray[np.float32]


def draw_table(seed: int) -> tuple[Design, NDArray[np.int8]]:
    """Return a design matrix, its last column constant, with labels that the first two tell in part."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(N_ROWS, N_DESIGN)).astype(np.float32)
    design[:, 2] = design[:, 2] > 0
    design[:, -1] = 7
    return design, (design[:, 0] - design[:, 1] + rng.normal(size=N_ROWS) > 0).astype(np.int8)


def suggested(family: ModelFamily, seed: int = 0) -> Json:
    """Return the parameters of one random trial."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return family.suggest(study.ask())


def compiled_margins(model: FittedModel, design: Design) -> NDArray[np.float32]:
    """Return the margins that the model's own ONNX nodes compute."""
    nodes, constants = model.nodes("design", "margin")
    source = helper.make_tensor_value_info("design", TensorProto.FLOAT, [None, design.shape[1]])
    target = helper.make_tensor_value_info("margin", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(nodes, "family", [source], [target], constants)
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(content)
    return np.asarray(open_session(content.SerializeToString()).run(["margin"], {"design": design})[0])


class ModelFamilyConformance:
    """Subclass it, name the class Test..., and override the fixture."""

    @pytest.fixture
    def family(self) -> ModelFamily:
        """Return the family."""
        raise NotImplementedError

    @pytest.fixture
    def model(self, family: ModelFamily) -> FittedModel:
        """Return a model fitted with parameters that the family suggests."""
        return family.fit(*draw_table(0), parameters=suggested(family), seed=0)

    def test_its_name_is_one_word(self, family: ModelFamily) -> None:
        assert family.name.isidentifier()

    def test_the_parameters_it_suggests_are_json(self, family: ModelFamily) -> None:
        parameters = suggested(family)

        assert json.loads(json.dumps(parameters, allow_nan=False)) == parameters

    def test_the_same_trial_suggests_the_same_parameters(self, family: ModelFamily) -> None:
        assert suggested(family, seed=3) == suggested(family, seed=3) != suggested(family, seed=4)

    def test_the_same_rows_parameters_and_seed_give_the_same_model(
        self, family: ModelFamily, model: FittedModel
    ) -> None:
        again = family.fit(*draw_table(0), parameters=suggested(family), seed=0)

        fresh, _ = draw_table(1)
        assert again.text() == model.text()
        assert again.margins(fresh).tobytes() == model.margins(fresh).tobytes()

    def test_parameters_that_were_stored_as_json_give_the_same_model(
        self, family: ModelFamily, model: FittedModel
    ) -> None:
        stored = json.loads(json.dumps(suggested(family)))

        assert family.fit(*draw_table(0), parameters=stored, seed=0).text() == model.text()

    def test_there_is_one_finite_margin_for_each_row(self, model: FittedModel) -> None:
        margins = model.margins(draw_table(1)[0])

        assert margins.shape == (N_ROWS,)
        assert margins.dtype == np.float64
        assert np.isfinite(margins).all()

    def test_a_higher_margin_means_the_positive_class(self, model: FittedModel) -> None:
        design, labels = draw_table(1)
        margins = model.margins(design)

        assert margins[labels == 1].mean() > margins[labels == 0].mean()

    @pytest.mark.parametrize("seed", range(3))
    def test_its_nodes_agree_with_its_margins(self, family: ModelFamily, seed: int) -> None:
        model = family.fit(*draw_table(seed), parameters=suggested(family, seed), seed=seed)
        fresh, _ = draw_table(seed + 10)

        np.testing.assert_allclose(compiled_margins(model, fresh)[:, 0], model.margins(fresh), rtol=2e-6, atol=2e-6)

    def test_its_importance_is_one_share_for_each_design_column(self, model: FittedModel) -> None:
        shares = model.importance()

        assert shares.shape == (N_DESIGN,)
        assert (shares >= 0).all()
        assert shares.sum() == pytest.approx(1)

    def test_the_columns_that_matter_are_the_important_ones(self, model: FittedModel) -> None:
        assert set(np.argsort(model.importance())[-2:]) == {0, 1}

    def test_a_constant_column_has_no_importance(self, model: FittedModel) -> None:
        assert model.importance()[-1] == 0

    def test_where_nothing_can_be_learned_the_model_is_constant(self, family: ModelFamily) -> None:
        design, labels = np.zeros((N_ROWS, N_DESIGN), dtype=np.float32), draw_table(0)[1]

        model = family.fit(design, labels, parameters=suggested(family), seed=0)

        assert model.importance().tolist() == [0] * N_DESIGN
        assert np.ptp(compiled_margins(model, draw_table(1)[0])) == 0

    def test_rows_that_all_count_one_are_rows_without_weights(self, family: ModelFamily, model: FittedModel) -> None:
        weighted = family.fit(*draw_table(0), parameters=suggested(family), seed=0, weights=np.ones(N_ROWS))

        fresh, _ = draw_table(1)
        np.testing.assert_allclose(weighted.margins(fresh), model.margins(fresh), atol=1e-5)

    def test_rows_that_count_nothing_are_not_there(self, family: ModelFamily) -> None:
        (design, labels), (fresh, _) = draw_table(0), draw_table(1)
        counted = np.arange(N_ROWS) % 3 > 0
        # What they hold must not matter, however far out it is.
        spoilt = np.where(counted[:, np.newaxis], design, np.float32(1e6))

        without = family.fit(design[counted], labels[counted], parameters=suggested(family), seed=0)
        weightless = family.fit(
            spoilt, labels, parameters=suggested(family), seed=0, weights=counted.astype(np.float64)
        )

        np.testing.assert_allclose(weightless.margins(fresh), without.margins(fresh), atol=1e-4)

    def test_a_row_that_counts_four_times_pulls_about_as_much_as_four_rows(self, family: ModelFamily) -> None:
        (design, labels), (fresh, _) = draw_table(0), draw_table(1)
        # Positives, so that the margins rise, and by far more than a family's own chance would move them.
        weights = np.where(labels == 1, 4.0, 1.0)
        copies = np.repeat(np.arange(N_ROWS), weights.astype(int))
        fit = partial(family.fit, parameters=suggested(family), seed=0)

        plain, weighted, repeated = (
            model.margins(fresh).mean()
            for model in (
                fit(design, labels),
                fit(design, labels, weights=weights),
                fit(design[copies], labels[copies]),
            )
        )

        assert weighted - plain == pytest.approx(repeated - plain, rel=0.2)

    def test_its_native_form_is_text(self, model: FittedModel) -> None:
        assert model.text().strip()
