"""Every figure of an evaluation, and every study, as plain JSON values."""

from model.findings import Vertebra
from training.evaluation.bootstrap import Estimate
from training.evaluation.evaluation import Evaluation, Refused
from training.evaluation.figures import Share
from training.evaluation.study_result import LevelResult, StudyResult


def evaluation_json(found: Evaluation) -> dict[str, object]:
    """The summary and every study."""
    return _summary(found) | _fractures(found) | {"results": [_study(result) for result in found.results]}


def _summary(found: Evaluation) -> dict[str, object]:
    return {
        "data": found.data,
        "what": found.what,
        "seeds": found.seeds,
        "studies": len(found.results),
        "patients": found.patients,
        "threshold": found.threshold,
        "all_levels_right": _json(found.all_right(enough_levels=True)),
        "all_levels_right_fewer_than_five": _json(found.all_right(enough_levels=False)),
        "fewer_than_five_says_so": _json(found.limited()),
        "mean_dice": _json(found.dice()),
        "dice": {level.name: _json(found.dice(level)) for level in Vertebra},
        "surface_distance_mm": {level.name: _json(found.surface_mm(level)) for level in Vertebra},
        "hausdorff95_mm": {level.name: _json(found.hausdorff95_mm(level)) for level in Vertebra},
        "masks_without_surface": {level.name: found.without_surface(level)[0] for level in Vertebra},
        "confusion_of_levels": found.confusion().tolist(),
        "refused": {result.name: result.refused for result in found.refused},
        "levels_of_unknown_truth": {level.name: list(names) for level, names in found.unknown().items()},
        "levels_not_found": {level.name: count for level, count in found.not_found().items()},
        "stray_alarms": sum(len(result.stray_alarms) for result in found.results),
        "median_seconds": found.seconds(),
    }


def _fractures(found: Evaluation) -> dict[str, object]:
    rsna, levels, studies = found.rsna(), found.level_calibration(), found.study_calibration()
    return {
        "levels": found.statistics().as_json(),
        "each_level": {level.name: found.levels(level).statistics().as_json() for level in Vertebra},
        "whole_studies": found.study_statistics().as_json(),
        "without_refused": {
            "levels": found.statistics(refused=Refused.LEFT_OUT).as_json(),
            "whole_studies": found.study_statistics(Refused.LEFT_OUT).as_json(),
        },
        "operating_points": {name: found.statistics(value).as_json() for name, value in found.points.items()},
        "decision_thresholds": {
            "levels": [decision.as_json() for decision in found.level_decisions()],
            "whole_studies": [decision.as_json() for decision in found.study_decisions()],
        },
        "calibration": {
            "levels": levels.as_json() if levels else None,
            "whole_studies": studies.as_json() if studies else None,
        },
        "kinds": {kind: figure.as_json() for kind, figure in found.by_kind().items()},
        "sites": {
            site: {
                "studies": len(mine.results),
                "levels": mine.statistics().as_json(),
                "whole_studies": mine.study_statistics().as_json(),
            }
            for site, mine in found.by_site().items()
        },
        "lesion_hits": _json(found.lesion_hits()),
        "lesion_dice": _json(found.lesion_dice()),
        "rsna_loss": rsna.as_json() if rsna else None,
    }


def _json(figure: Share | Estimate | None) -> dict[str, float | int] | None:
    return figure.as_json() if figure else None


def _study(result: StudyResult) -> dict[str, object]:
    return {
        "name": result.name,
        "site": result.site,
        "all_right": result.all_right if result.masked else None,
        "wrongly_named": [level.name for level in result.wrongly_named],
        "stray_alarms": [level.name for level in result.stray_alarms],
        "unknown": [level.name for level in result.unknown],
        "fractured": result.fractured,
        "called": result.called,
        "probability": round(result.probability, 4),
        "limitations": [limitation.name for limitation in result.limitations],
        "refused": result.refused,
        "seconds": round(result.seconds, 2),
        "levels": {level.vertebra.name: _level(level) for level in result.levels},
    }


def _level(level: LevelResult) -> dict[str, object]:
    mask = level.mask
    return {
        "found": level.found,
        "probability": round(level.probability, 4),
        "called": level.called,
        "fractured": level.fractured,
        "kind": level.kind or None,
        "dice": round(mask.dice, 4) if mask else None,
        "right": mask.right if mask else None,
        "surface_distance_mm": round(mask.distance.mean_mm, 3) if mask and mask.distance else None,
        "lesion_hit": level.lesion_hit,
        "lesion_dice": level.lesion_dice,
    }
