"""Results of studies without pixels, made for figures whose values are known."""

from model.findings import Vertebra
from training.evaluation.evaluation import Evaluation
from training.evaluation.study_result import LevelResult, MaskResult, StudyResult
from training.evaluation.surface import SurfaceDistance

THRESHOLD = 0.5
MASK = MaskResult(0.9, True, None, SurfaceDistance(0.4, 1.5))


def level(vertebra, probability, fractured=False, *, found=True, kind="", mask=None):  # noqa: FBT002 -- the truth beside the probability
    called = found and probability >= THRESHOLD
    return LevelResult(vertebra, probability, found, called, fractured, kind, mask)


def result(name, *levels, refused="", **others):
    """A study of these levels; its probability is the highest of theirs."""
    highest = max((one.probability for one in levels), default=0.0)
    called = any(one.called for one in levels)
    known = {"masked": any(one.mask for one in levels), **others}
    return StudyResult(name, levels, highest, highest, called, 1.0, refused=refused, **known)


def evaluation(*results, data="set", points=None):
    return Evaluation(data, "what it is", "split test", results, THRESHOLD, points or {"balanced": THRESHOLD})


def refused(name, *broken):
    """A refused study of seven levels of which some are broken."""
    levels = [level(one, 0.0, one in broken, found=False) for one in Vertebra]
    return result(name, *levels, refused="too noisy")
