"""What ends a process or a command at once: each message says what to do next."""


class StartupError(Exception):
    """The process or command cannot run as it is configured; the message is the operator's next step."""
