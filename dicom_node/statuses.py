"""What statuses and failure reasons of a peer mean for sending again (PS3.4 B.2.3, J.4, PS3.7 C)."""

_DUPLICATE_SOP_INSTANCE = 0x0111
_TRANSIENT = frozenset({0x0110, 0x0213, 0xFE00})  # processing failure, resource limitation, canceled
_MEANINGS = {
    0x0000: "Stored",
    0x0110: "Processing failure",
    0x0111: "Stored before (duplicate SOP instance)",
    0x0112: "No such SOP instance",
    0x0117: "Invalid SOP instance",
    0x0118: "No such SOP class",
    0x0119: "SOP class and instance conflict",
    0x0122: "SOP class not supported",
    0x0123: "No such action",
    0x0124: "Not authorized",
    0x0131: "Duplicate transaction UID",
    0x0210: "Duplicate invocation",
    0x0211: "Unrecognized operation",
    0x0212: "Mistyped argument",
    0x0213: "Resource limitation",
}
_MEANINGS_BY_RANGE = {
    0xA700: "Out of resources",
    0xA900: "Data set does not match SOP class",
    0xB000: "Stored with a warning",
    0xC000: "Cannot understand",
}
_NAMED = frozenset({*_MEANINGS, *_MEANINGS_BY_RANGE})


def verdict(status: int) -> tuple[bool, bool]:
    """Return whether ``status`` says that the peer has the instance, and whether sending it again is useless."""
    if status in {0x0000, _DUPLICATE_SOP_INSTANCE} or status & 0xF000 == 0xB000:
        return True, True
    return False, not (status in _TRANSIENT or status & 0xFF00 == 0xA700)


def code_of(status: int | None) -> str:
    """Return a name for ``status`` of which there are few: the number if its meaning is known, or that of its range."""
    if status is None:
        return "NO_STATUS"
    known = [number for number in (status, status & 0xFF00, status & 0xF000) if number in _NAMED]
    return f"0x{known[0]:04X}" if known else "UNKNOWN_STATUS"


def describe_status(status: int) -> str:
    """Return the meaning of ``status`` and its number, in words an operator understands."""
    meaning = _MEANINGS.get(status) or _MEANINGS_BY_RANGE.get(status & 0xFF00)
    if meaning is None:
        meaning = _MEANINGS_BY_RANGE.get(status & 0xF000, "Unknown status")
    return f"{meaning} (0x{status:04X})"
