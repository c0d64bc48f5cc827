"""What the path of an image says: its level, fractured or not, which study it comes from, whether it was augmented.

All of it is regular expressions, as data: a site whose names follow other rules gives its own (``NamePatterns``). Case
does not matter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, TypeVar

from pydantic import Field

from model.findings import Vertebra

LEVEL = r"(?<![a-z0-9])c[-_ ]?([1-7])(?![a-z0-9])"
NORMAL = (
    r"(?<![a-z])(?:normal|intact|healthy|negative|unfractured|"
    r"(?:no|non|not|without)[-_ ]?(?:a[-_ ])?fract(?:ure[ds]?)?)(?![a-z])"
)
FRACTURED = r"(?<![a-z])(?:fract(?:ure[ds]?)?|broken|positive)(?![a-z])"

_WORDS = (
    "aug|augmented|augmentation|rot|rotate|rotated|rotation|flip|flipped|hflip|vflip|mirror|mirrored|zoom|zoomed|"
    "shift|shifted|shear|sheared|translate|translated|crop|cropped|scale|scaled|bright|brightness|dark|contrast|gamma|"
    "noise|noisy|blur|blurred|sharp|sharpen|sharpened|clahe|equalized|elastic|distorted"
)
NUMBERED = "a number in brackets"
"""Made by file managers, and by people who number slices: a copy only where there is a file without it."""
AUGMENTATIONS = (
    ("Roboflow", r"(?:_(?:png|jpe?g))?\.rf\.[0-9a-f]{8,}$"),
    ("Keras' ImageDataGenerator", r"_0_\d{1,7}$"),
    (NUMBERED, r"\s*\(\d{1,4}\)$"),
    ("a copy", r"(?:\s*-\s*copy|[-_ ]copy[-_ ]?\d*|[-_ ]dup(?:licate)?[-_ ]?\d*)$"),
    ("an augmentation", rf"[-_. ]+(?:{_WORDS})[-_]?(?:-?\d+(?:\.\d+)?)?$"),
    ("an augmentation", rf"^(?:{_WORDS})[-_ ]+(?=.)"),
)
"""What tools add to the names of copies that they make: who does it, and how it looks in a name without its suffix."""

_GENERIC = (
    r"(?:img|images?|im|slices?|scans?|ct|frames?|pics?|photos?|pictures?|case|cases|patients?|stud(?:y|ies)|series|"
    r"samples?|files?|data|datasets?|set|cervical|spine|neck|vertebrae?|level|levels|roi|"
    r"train(?:ing)?|tests?|val(?:id|idation)?|original|raw|png|jpe?g|dicom|dcm|class|of|from|and|the)"
)
_PLANE = r"(?<![a-z])(?:ax(?:ial)?|sag(?:ittal)?|cor(?:onal)?)(?![a-z])"
_SEPARATORS = r"[-_ .,]+"
_NUMBERED = re.compile(r"^(?P<rest>.*?)[-_ ]+(?:slice|img|image|im|frame|z|s|i)?[-_ ]?\d{1,5}$", re.IGNORECASE)


Said = TypeVar("Said")


class AmbiguousName(ValueError):
    """A path says two things of one image."""


@dataclass(frozen=True, slots=True)
class NamePatterns:
    """How names are read; regular expressions in which case does not matter.

    Raises ValueError for what is no regular expression, or lacks the group that is read.
    """

    level: Annotated[str, Field(description="The level: its first group is the number 1 to 7")] = LEVEL
    fractured: Annotated[str, Field(description="Names of fractured images, where `normal` does not match")] = FRACTURED
    normal: Annotated[str, Field(description="Names of images without a fracture")] = NORMAL
    group: Annotated[
        str,
        Field(description="Finds the source study in the path, as (?P<group>...); empty: from its words"),
    ] = ""
    augmented: Annotated[str, Field(description="A site's own suffix of augmented copies, beside the known ones")] = ""

    def __post_init__(self) -> None:
        for pattern in (self.level, self.fractured, self.normal, self.group, self.augmented):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        if re.compile(self.level).groups < 1:
            raise ValueError(f"{self.level!r} has no group for the level's number")
        if self.group and "group" not in re.compile(self.group).groupindex:
            raise ValueError(f"{self.group!r} has no group (?P<group>...)")

    @property
    def copies(self) -> tuple[tuple[str, str], ...]:
        """Who adds what to the names of copies."""
        return (("this site", self.augmented), *AUGMENTATIONS) if self.augmented else AUGMENTATIONS


@dataclass(frozen=True, slots=True)
class NameFacts:
    """What a path says; None where it says nothing. ``augmented``: who made the copy, empty where nobody did."""

    level: Vertebra | None
    fractured: bool | None
    group: str
    augmented: str


def facts_of(path: PurePosixPath, patterns: NamePatterns) -> NameFacts:
    """What the path of an image below its data set's folder says; raises ``AmbiguousName``."""
    parts = (path.stem, *reversed(path.parent.parts))
    stem, augmented = without_copies(path.stem, patterns)
    return NameFacts(
        level=_agreed([_level(part, patterns) for part in parts], path, "level"),
        fractured=_agreed([_fractured(part, patterns) for part in parts], path, "fracture"),
        group=_group(path, stem, patterns),
        augmented=augmented,
    )


def without_copies(stem: str, patterns: NamePatterns) -> tuple[str, str]:
    """The name without what augmentation added, and who added it ("" nobody)."""
    maker = ""
    changed = True
    while changed:
        changed = False
        for who, pattern in patterns.copies:
            shorter = re.sub(pattern, "", stem, flags=re.IGNORECASE)
            if shorter not in {stem, ""}:
                stem, maker, changed = shorter, maker or who, True
    return stem, maker


def _level(part: str, patterns: NamePatterns) -> Vertebra | None:
    found = {int(match.group(1)) for match in re.finditer(patterns.level, part, re.IGNORECASE)}
    if len(found) > 1:
        raise AmbiguousName(f"names several levels ({', '.join(f'C{level}' for level in sorted(found))})")
    return Vertebra(found.pop()) if found else None


def _fractured(part: str, patterns: NamePatterns) -> bool | None:
    if re.search(patterns.normal, part, re.IGNORECASE):
        return False
    return True if re.search(patterns.fractured, part, re.IGNORECASE) else None


def _agreed(said: Sequence[Said | None], path: PurePosixPath, what: str) -> Said | None:
    """What the file's name says, or else its nearest folder that says anything; both must agree."""
    name, folder = said[0], next((value for value in said[1:] if value is not None), None)
    if name is not None and folder is not None and name != folder:
        raise AmbiguousName(f"the name and the folder of {path.name} contradict each other about the {what}")
    return folder if name is None else name


def _group(path: PurePosixPath, stem: str, patterns: NamePatterns) -> str:
    """The study that an image comes from: as the site says, else its folder's name, else its own without a number."""
    if patterns.group:
        match = re.search(patterns.group, path.as_posix(), re.IGNORECASE)
        if match is None or not match["group"]:
            raise AmbiguousName("the pattern `group` finds no study in the path")
        return match["group"].casefold()
    folders = [_specific(part, patterns) for part in path.parent.parts]
    if any(folders):
        return "/".join(part for part in folders if part).casefold()
    name = _without_labels(stem, patterns)
    numbered = _NUMBERED.match(name)
    if numbered and (any(map(str.isdigit, numbered["rest"])) or not _is_generic(numbered["rest"])):
        name = numbered["rest"]
    return (name or stem).casefold()


def _specific(folder: str, patterns: NamePatterns) -> str:
    """A folder's name without labels and copies, empty where the rest says nothing of a study."""
    name = _without_labels(without_copies(folder, patterns)[0], patterns)
    return "" if _is_generic(name) or re.fullmatch(_WORDS, name, re.IGNORECASE) else name


def _without_labels(name: str, patterns: NamePatterns) -> str:
    """A name without what tells its label and plane."""
    for pattern in (patterns.level, patterns.normal, patterns.fractured, _PLANE):
        name = re.sub(pattern, " ", name, flags=re.IGNORECASE)
    return re.sub(r"[-_ ]{2,}", "_", name).strip("-_ .")


def _is_generic(name: str) -> bool:
    """Whether a name is made of words that every data set uses."""
    words = [word for word in re.split(_SEPARATORS, name) if word]
    return all(re.fullmatch(_GENERIC, word, re.IGNORECASE) for word in words)
