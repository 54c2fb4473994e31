"""Gradient-boosted trees by LightGBM, and their exact form as an ONNX tree ensemble.

Not here: which parameters win (`training.train`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import lightgbm
import numpy as np
import optuna
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from homeostat.records import Floats, Json

FIXED: Json = {
    "objective": "binary",
    "verbosity": -1,
    # One thread and fixed order: the same rows give the same trees, bit for bit. On small data more threads only spin.
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    # The design matrix has no NaN: without this LightGBM would still keep a branch for them.
    "use_missing": False,
    "feature_pre_filter": False,
    "bagging_freq": 1,
}
# LightGBM reads every value this close to zero as zero, when it learns and when it predicts (kZeroThreshold).
# https://github.com/microsoft/LightGBM/blob/master/include/LightGBM/meta.h
ZERO = float(np.float32(1e-35))


class LightGbm:
    """The family of LightGBM's boosted trees."""

    name = "lightgbm"

    def prior(self) -> Json:
        """Return shallow trees, grown slowly.

        Over 25 nested folds of the Pima table this alone had AUC .840, where a search of 30 wide configurations that
        began from nothing had .829.
        """
        return {
            "num_iterations": 100,
            "learning_rate": 0.04,
            "num_leaves": 4,
            "min_data_in_leaf": 20,
            "lambda_l2": 0.1,
            "feature_fraction": 0.6,
            "bagging_fraction": 0.7,
        }

    def suggest(self, trial: optuna.Trial) -> Json:
        """Return small trees: LightGBM's defaults lose .03 AUC on a table of some hundred rows."""
        return {
            "num_iterations": trial.suggest_int("num_iterations", 40, 200, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.2, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 2, 16, log=True),
            "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 5, 60),
            "lambda_l2": trial.suggest_float("lambda_l2", 1e-3, 10.0, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
            "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
        }

    def fit(
        self,
        design: NDArray[np.float32],
        labels: NDArray[np.int8],
        *,
        parameters: Json,
        seed: int,
        weights: Floats | None = None,
    ) -> "BoostedTrees":
        """Return the fitted trees."""
        if weights is not None:
            # LightGBM counts rows without weight too where it asks for enough rows in a leaf.
            counted = weights > 0
            design, labels, weights = design[counted], labels[counted], weights[counted]
        rounds = parameters["num_iterations"]
        settings = {**FIXED, **{k: v for k, v in parameters.items() if k != "num_iterations"}, "seed": seed}
        data = lightgbm.Dataset(design, labels, weight=weights)
        # Without keep_training_booster the model is written as text and read again: a sixth of the time of a fit.
        return BoostedTrees(lightgbm.train(settings, data, num_boost_round=rounds, keep_training_booster=True))


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """A fitted LightGBM model."""

    booster: lightgbm.Booster

    def margins(self, design: NDArray[np.float32]) -> Floats:
        """Return LightGBM's own raw scores, shape (n_rows,)."""
        return np.asarray(self.booster.predict(design, raw_score=True, num_threads=1), dtype=np.float64)

    def text(self) -> str:
        """Return LightGBM's text format."""
        return str(self.booster.model_to_string())

    def importance(self) -> Floats:
        """Return each design column's share of the total split gain."""
        gain = np.asarray(self.booster.feature_importance("gain"), dtype=np.float64)
        return gain / gain.sum() if gain.sum() else gain

    def nodes(self, source: str, target: str) -> tuple[list[NodeProto], list[TensorProto]]:
        """Return one TreeEnsembleRegressor that places every float32 exactly where LightGBM does."""
        ensemble = Ensemble()
        for number, tree in enumerate(self.booster.dump_model()["tree_info"]):
            ensemble.add_tree(number, tree["tree_structure"])
        node = helper.make_node(
            "TreeEnsembleRegressor", [source], [target], domain="ai.onnx.ml", n_targets=1, **ensemble.attributes()
        )
        return [node], []


@dataclass(slots=True)
class Ensemble:
    """The flat lists of the ONNX operator, filled tree by tree.

    https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html
    """

    rows: list[tuple[int, int, int, float, str, int, int]] = field(default_factory=list)
    leaves: list[tuple[int, int, float]] = field(default_factory=list)

    def add_tree(self, tree: int, root: Json) -> None:
        """Add the nodes of one tree, parents before children."""
        for node, parsed in enumerate(walk(root)):
            structure, left, right = parsed
            if "leaf_value" in structure:
                self.rows.append((tree, node, 0, 0.0, "LEAF", 0, 0))
                self.leaves.append((tree, node, float(structure["leaf_value"])))
            else:
                threshold = place_threshold(float(structure["threshold"]))
                self.rows.append((tree, node, int(structure["split_feature"]), threshold, "BRANCH_LEQ", left, right))

    def attributes(self) -> Json:
        """Return the operator's attributes."""
        trees, nodes, features, values, modes, left, right = map(list, zip(*self.rows, strict=True))
        leaf_trees, leaf_nodes, weights = map(list, zip(*self.leaves, strict=True))
        return {
            "nodes_treeids": trees,
            "nodes_nodeids": nodes,
            "nodes_featureids": features,
            "nodes_values": values,
            "nodes_modes": modes,
            "nodes_truenodeids": left,
            "nodes_falsenodeids": right,
            "target_treeids": leaf_trees,
            "target_nodeids": leaf_nodes,
            "target_ids": [0] * len(leaf_nodes),
            "target_weights": weights,
        }


def walk(root: Json) -> Iterator[tuple[Json, int, int]]:
    """Yield each node of a dumped tree, breadth first, with the numbers of its children (0 for a leaf)."""
    queue, following = [root], 1
    for node in queue:
        if "leaf_value" in node:
            yield node, 0, 0
        else:
            queue += [node["left_child"], node["right_child"]]
            yield node, following, following + 1
            following += 2


def place_threshold(value: float) -> float:
    """Return the float32 that splits float32 numbers by `<=` as LightGBM splits them by the double `value`.

    That is the largest float32 not above `value`: with thresholds rounded to nearest, 2,371 of 18,000 rows placed on
    thresholds were answered differently, by up to .37. Within `ZERO` of zero every number counts as zero, so that a
    threshold there is moved to the end of that stretch (features of both signs are often split at -1e-35).
    """
    if abs(value) <= ZERO:
        return ZERO if value >= 0 else float(np.nextafter(np.float32(-ZERO), np.float32(-np.inf)))
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and then moved back or below every number
        nearest = np.float32(value)
    return float(np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > value else nearest)
