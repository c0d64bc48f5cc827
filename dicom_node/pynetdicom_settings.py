"""The process-wide switches of pynetdicom that this product relies on; all of them are documented ones."""

import logging

from pynetdicom import _config


def configure_pynetdicom() -> None:
    """Send files in pieces and as they are, and log nothing: pynetdicom's records quote what peers send.

    Repeating it is harmless. The switches are pynetdicom's own module variables, there is no other way to set them.
    """
    _config.STORE_SEND_CHUNKED_DATASET = True
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
