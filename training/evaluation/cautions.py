"""Why the figures of a data set may mean less than they seem to: sentences that stand before them."""

from training.evaluation.evaluation import Evaluation

FEW = 30
"""Below this many values an interval of a share is wider than 0.2: far too few to rely on."""


def cautions(found: Evaluation) -> list[str]:
    """Everything that a reader must know before the figures."""
    return [*_counts(found), *_left_out(found), *_meaning(found)]


def _counts(found: Evaluation) -> list[str]:
    levels, studies = found.levels(), found.studies()
    lines = []
    for what, truth in (("levels", levels.truth), ("studies", studies.truth)):
        for name, count in ((f"fractured {what}", int(truth.sum())), (f"intact {what}", int((~truth).sum()))):
            if count == 0:
                lines.append(f"There are no {name}: what depends on them cannot be measured (–).")
            elif count < FEW:
                lines.append(f"Only {count} {name}: too few to rely on; look at the intervals, not at the values.")
    if found.patients < len(found.results):
        lines.append(f"{len(found.results)} studies of {found.patients} patients: studies of one are drawn together.")
    return lines


def _left_out(found: Evaluation) -> list[str]:
    lines = []
    if found.refused:
        lines.append(
            f"{len(found.refused)} of {len(found.results)} studies were refused. They count as wrong in sensitivity, "
            "specificity and areas (worst case), as 0.5 in the RSNA loss, and not in calibration; lines “without "
            "refused” leave them out."
        )
    unknown = sum(len(names) for names in found.unknown().values())
    if unknown:
        lines.append(f"{unknown} levels were not judged because their truth is unknown; they are named below.")
    undecided = sum(result.fractured is None for result in found.results)
    if undecided:
        lines.append(f"{undecided} studies may have a fracture or not: figures of whole studies leave them out.")
    missed = found.not_found()
    if missed:
        named = ", ".join(f"{level.name} {count}" for level, count in sorted(missed.items()))
        lines.append(f"Levels that the bundle did not find, taken as probability 0: {named}.")
    return lines


def _meaning(found: Evaluation) -> list[str]:
    lines = []
    if found.own_labels:
        lines.append("The true levels are the network's own on the intact CT: masks and names say nothing here.")
    prevalence = found.studies().truth
    if prevalence.size and prevalence.mean() > 0.15:
        lines.append(
            f"{prevalence.mean():.0%} of these studies have a fracture. In practice 4–9 % have: fewer alarms are right "
            "there (precision), and probabilities must be calibrated again."
        )
    return lines
