"""The device that every result names: stable for an installation, overridable by the site."""

from worker.devices import device_of, product_version
from worker.settings import Settings


def test_the_device_uid_follows_from_the_serial_number_alone() -> None:
    one, again = device_of(Settings(device_serial="A-1")), device_of(Settings(device_serial="A-1", port=4711))
    assert one.device_uid == again.device_uid
    assert one.device_uid != device_of(Settings(device_serial="A-2")).device_uid
    assert one.software_version == product_version()


def test_the_site_may_set_the_device_uid() -> None:
    assert device_of(Settings(device_uid="1.2.3.4")).device_uid == "1.2.3.4"
