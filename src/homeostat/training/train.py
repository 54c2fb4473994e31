"""From labelled rows to a calibrated model: search, comparison with the baseline, final fit.

Not here: packing the result (`deployment.artifacts`) or recording the attempt (`training.tracking`). Everything is
seeded: the same rows and settings give the same model.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial
from sklearn.linear_model import LogisticRegression

from homeostat.data.columns import take_rows
from homeostat.data.snapshots import require_classes, take_labelled
from homeostat.records import Columns, Estimate, Floats, Json, LabelledRows, Mask, Recipe, Schema
from homeostat.settings import TrainingSettings
from homeostat.training.evaluation import compare_auc, estimate_auc, estimate_to_json
from homeostat.training.folds import count_repeats, describe_folds, find_scored, make_folds
from homeostat.training.graph import Calibration, compile_release, design_matrix
from homeostat.training.models import BASELINE, FAMILIES, FittedModel, ModelFamily
from homeostat.training.preprocessing import Preprocessor, fit_preprocessor
from homeostat.training.recipes import UNION, apply_recipe, counts_half, weigh_rows
from homeostat.training.scoring import Graph

# What is under way, how much of it is done, and of how much.
Tell: TypeAlias = Callable[[str, int, int], None]

BOOSTER = "lightgbm"
# One parameter needs no long search.
BASELINE_TRIALS = 8
# What a configuration must gain to replace the prior, in standard errors of the differences by fold: the best of many
# noisy figures is partly luck. On 25 nested folds of the Pima table, 3 seeds, 15 trials, the mean AUC of the folds was
# .842 with 2, .841 with 1, .840 with 0; where there is much to gain (4,000 rows, interactions) all choose the same.
REQUIRED_GAIN = 2.0
PLAIN = Calibration(1.0, 0.0)
FLOOR = 1e-7


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The rows that training may see: features, labels of shape (n_rows,), and their folds, `repeats` times over.

    `weights` says what each row counts, shape (n_rows,); None if all count alike.
    """

    columns: Columns
    labels: NDArray[np.int8]
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
    weights: Floats | None = None
    repeats: int = 1
    in_time: bool = False

    @property
    def n_folds(self) -> int:
        """The folds of one repeat."""
        return len(self.folds) // self.repeats

    @property
    def scored(self) -> Mask:
        """Which rows have out-of-fold scores, shape (n_rows,)."""
        return find_scored(self.folds, len(self.labels))

    def weights_of(self, chosen: NDArray[np.int64] | Mask) -> Floats | None:
        """Return what the chosen rows count."""
        return None if self.weights is None else self.weights[chosen]


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold as a model sees it: design matrix, labels and weights of its training part, then of its held-out part."""

    design: NDArray[np.float32]
    labels: NDArray[np.int8]
    weights: Floats | None
    held: NDArray[np.float32]
    held_labels: NDArray[np.int8]
    held_weights: Floats | None


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted, calibrated model: its parts, its graph, and calibrated out-of-fold probabilities, shape (n_rows,).

    Only rows that some fold scores have theirs. Where rows count differently, only those that count at least half: the
    others describe a world that the model is no longer meant for.
    """

    preprocessor: Preprocessor
    graph: bytes
    native: str
    importance: Json
    calibration: Calibration
    out_of_fold: Floats
    labels: NDArray[np.int8]
    model: FittedModel

    def native_probabilities(self, columns: Columns, schema: Schema) -> Floats:
        """Return what the native model and the calibration give in double, shape (n_rows,), for the parity check."""
        margins = self.model.margins(design_matrix(self.preprocessor, columns, schema))
        return np.asarray(1 / (1 + np.exp(-(self.calibration.slope * margins + self.calibration.offset))))


def select_training(rows: LabelledRows, settings: TrainingSettings, recipe: Recipe = UNION) -> TrainingRows:
    """Return the rows on the training side that a recipe takes, with their folds.

    Raises
    ------
    DataInsufficient
        A class has fewer rows than there are folds, on the training side or on the anchor, or too late ones.
    """
    taken = apply_recipe(rows, recipe)
    require_classes(taken, at_least=settings.folds)
    training = take_labelled(taken, np.asarray(taken.sides == "training", dtype=np.bool_))
    in_time = training.times is not None
    return TrainingRows(
        training.columns,
        training.labels,
        make_folds(training, settings),
        weigh_rows(training.seqs, recipe),
        repeats=count_repeats(training, settings),
        in_time=in_time,
    )


def untold(_words: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def search(rows: TrainingRows, schema: Schema, settings: TrainingSettings, *, tell: Tell = untold) -> Json:
    """Return the winning configuration with what it won over and why, as a JSON object.

    Each family is searched on the first repeat of the folds, then the configuration that it chose is scored on all
    repeats by compiled graphs. The booster is taken unless the baseline is better beyond the paired 95 % interval.
    `tell` is told how far the search of each family has come.
    """
    names = [BOOSTER, BASELINE] if settings.family == "auto" else list(dict.fromkeys((settings.family, BASELINE)))
    candidates = {name: search_family(FAMILIES[name], rows, schema, settings, tell) for name in names}
    scores = {
        name: cross_score(FAMILIES[name], found["parameters"], rows, schema, settings)
        for name, found in candidates.items()
    }
    told = rows.scored
    labels, weights = rows.labels[told], rows.weights_of(told)
    for name, found in candidates.items():
        found["auc"] = estimate_to_json(
            estimate_auc(labels, scores[name][:, told], seed=settings.seed, weights=weights)
        )
    ours, base = scores[names[0]][:, told], scores[BASELINE][:, told]
    difference = compare_auc(labels, ours, base, seed=settings.seed, weights=weights)
    winner = BASELINE if settings.family == "auto" and difference.high < 0 else names[0]
    folds = describe_folds(rows.folds, len(rows.labels), in_time=rows.in_time)
    return {
        "family": winner,
        "parameters": candidates[winner]["parameters"],
        "candidates": candidates,
        "difference": estimate_to_json(difference),
        "folds": rows.n_folds,
        "repeats": rows.repeats,
        "sentence": explain(winner, names[0], candidates, difference) + folds,
    }


def search_family(
    family: ModelFamily, rows: TrainingRows, schema: Schema, settings: TrainingSettings, tell: Tell = untold
) -> Json:
    """Return a family's chosen parameters, all its trials and how much each parameter mattered."""
    prepared = [prepare_fold(rows, fold, schema) for fold in rows.folds[: rows.n_folds]]

    def objective(trial: optuna.Trial) -> float:
        parameters = family.suggest(trial)
        losses = []
        for fold in prepared:
            model = family.fit(
                fold.design, fold.labels, parameters=parameters, seed=settings.seed, weights=fold.weights
            )
            losses.append(log_loss(fold.held_labels, model.margins(fold.held), fold.held_weights))
        trial.set_user_attr("losses", losses)
        return float(np.mean(losses))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
    study.enqueue_trial(family.prior())
    n_trials = min(settings.trials, BASELINE_TRIALS) if family.name == BASELINE else settings.trials
    tell(family.name, 0, n_trials)
    callbacks = [lambda _study, trial: tell(family.name, trial.number + 1, n_trials)]
    study.optimize(objective, n_trials=n_trials, callbacks=callbacks)
    return {
        "parameters": choose_trial(study.trials).params,
        "trials": [{"parameters": t.params, "log_loss": t.value} for t in study.trials],
        "importance": parameter_importance(study, settings.seed),
    }


def choose_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return the trial of least loss if it gains `REQUIRED_GAIN` standard errors on the first one, else the first."""
    losses = np.array([trial.user_attrs["losses"] for trial in trials])
    best = int(losses.mean(axis=1).argmin())
    gains = losses[0] - losses[best]
    error = gains.std(ddof=1) / math.sqrt(len(gains))
    return trials[best if gains.mean() > REQUIRED_GAIN * error else 0]


def parameter_importance(study: optuna.Study, seed: int) -> dict[str, float]:
    """Return each parameter's share of the variance of the search (fANOVA; Hutter, Hoos, Leyton-Brown 2014).

    All are 0 if every trial gave the same: then nothing mattered, or nobody knows.
    """
    if len({trial.value for trial in study.trials}) == 1:
        return dict.fromkeys(study.best_trial.params, 0.0)
    if len(study.best_trial.params) == 1:
        return dict.fromkeys(study.best_trial.params, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return dict(get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed)))


def log_loss(labels: NDArray[np.int8], margins: Floats, weights: Floats | None = None) -> float:
    """Return the mean log loss of margins, in nats: what a search minimises.

    It sees every row's probability where AUC sees only their order: the winners of 25 nested folds of the Pima table
    had AUC .833 where those that AUC chose had .829.
    """
    return float(np.average(np.logaddexp(0, np.where(labels == 1, -margins, margins)), weights=weights))


def prepare_fold(rows: TrainingRows, fold: tuple[NDArray[np.int64], NDArray[np.int64]], schema: Schema) -> Fold:
    """Return a fold prepared by what its training part alone teaches."""
    taught, scored = (take_rows(rows.columns, part) for part in fold)
    preprocessor = fit_preprocessor(taught, schema)
    design, held = (design_matrix(preprocessor, part, schema) for part in (taught, scored))
    inside, out = fold
    ours, theirs = rows.weights_of(inside), rows.weights_of(out)
    return Fold(design, rows.labels[inside], ours, held, rows.labels[out], theirs)


def cross_score(
    family: ModelFamily, parameters: Json, rows: TrainingRows, schema: Schema, settings: TrainingSettings
) -> Floats:
    """Return out-of-fold probabilities before calibration, by compiled graphs, shape (n_repeats, n_rows).

    A row that no fold scores has NaN.
    """
    scores = np.full((rows.repeats, len(rows.labels)), np.nan)
    for number, (inside, held) in enumerate(rows.folds):
        part = take_rows(rows.columns, inside)
        preprocessor = fit_preprocessor(part, schema)
        design = design_matrix(preprocessor, part, schema)
        weights, seed = rows.weights_of(inside), settings.seed
        model = family.fit(design, rows.labels[inside], parameters=parameters, seed=seed, weights=weights)
        graph = Graph(compile_release(preprocessor, model, PLAIN, schema), schema)
        scores[number // rows.n_folds, held] = graph.score(take_rows(rows.columns, held))
    return scores


def calibrate(labels: NDArray[np.int8], probabilities: Floats, weights: Floats | None = None) -> Calibration:
    """Return Platt's scaling fitted to out-of-fold probabilities, shape (n_repeats, n_rows) (Platt 1999)."""
    repeated = np.tile(labels, len(probabilities))
    counted = None if weights is None else np.tile(weights, len(probabilities))
    margins = log_odds(probabilities).reshape(-1, 1)
    # C is the inverse penalty: two parameters on hundreds of rows need none.
    model = LogisticRegression(C=1e9, max_iter=1_000).fit(margins, repeated, sample_weight=counted)
    return Calibration(float(model.coef_[0, 0]), float(model.intercept_[0]))


def log_odds(probabilities: Floats) -> Floats:
    """Return the margins behind probabilities."""
    clipped = np.clip(probabilities, FLOOR, 1 - FLOOR)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), dtype=np.float64)


def fit(rows: TrainingRows, schema: Schema, settings: TrainingSettings, *, family: str, parameters: Json) -> Trained:
    """Return the final model: fitted to all training rows, calibrated on out-of-fold probabilities."""
    scores = cross_score(FAMILIES[family], parameters, rows, schema, settings)
    scored = np.flatnonzero(rows.scored)
    scores, labels, weights = scores[:, scored], rows.labels[scored], rows.weights_of(scored)
    calibration = calibrate(labels, scores, weights)
    preprocessor = fit_preprocessor(rows.columns, schema)
    design = design_matrix(preprocessor, rows.columns, schema)
    model = FAMILIES[family].fit(design, rows.labels, parameters=parameters, seed=settings.seed, weights=rows.weights)
    graph = compile_release(preprocessor, model, calibration, schema)
    calibrated = 1 / (1 + np.exp(-(calibration.slope * log_odds(scores[0]) + calibration.offset)))
    shares = dict(zip(preprocessor.design_names, model.importance().tolist(), strict=True))
    told = counts_half(labels, weights)
    return Trained(preprocessor, graph, model.text(), shares, calibration, calibrated[told], labels[told], model)


def explain(winner: str, challenger: str, candidates: Json, difference: Estimate) -> str:
    """Return in one sentence which configuration won, over what, and why."""
    found = candidates[winner]
    chosen = ", ".join(f"{key} {value:.3g}" for key, value in found["parameters"].items())
    ranked = sorted(found["importance"].items(), key=lambda item: -item[1])
    mattered = " and ".join(f"{key} ({share:.0%})" for key, share in ranked[:2] if share > 0)
    why = f", in which {mattered} mattered most" if mattered else ""
    n_trials = len(found["trials"])
    stayed = n_trials > 1 and found["parameters"] == found["trials"][0]["parameters"]
    prior = f" (the prior: no other gained {REQUIRED_GAIN:g} standard errors on it)" if stayed else ""
    ours, base = found["auc"], candidates[BASELINE]["auc"]
    text = (
        f"{winner} with {chosen}{prior} won its search of {n_trials} configuration{'s' if n_trials > 1 else ''}{why}: "
        f"AUC {ours['value']:.3f} [{ours['low']:.3f}, {ours['high']:.3f}]"
    )
    if challenger == BASELINE:
        return f"{text}."
    versus = f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    if winner == BASELINE:
        return f"{text}; {challenger} is worse than this baseline beyond its interval ({versus}) and is not shipped."
    return f"{text}, against {base['value']:.3f} for the logistic baseline on the same folds (difference {versus})."
