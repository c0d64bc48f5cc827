"""What the storage SCP tells whoever keeps count of it."""

from dicom_node.policy import Rejection, StoreStatus


class ScpObserver:
    """Takes notice of associations and instances; here of nothing.

    The methods are called from association threads, several at once, before the peer is answered: they must return at
    once and never raise.
    """

    def association_accepted(self) -> None:
        """Take notice that an association was accepted."""

    def association_rejected(self, rejection: Rejection) -> None:
        """Take notice that an association was rejected."""

    def connection_refused(self) -> None:
        """Take notice that a connection was closed unheard, there being too many."""

    def instance_stored(self, size_bytes: int) -> None:
        """Take notice that an instance with a data set of this size is durable and recorded."""

    def instance_ignored(self) -> None:
        """Take notice that an instance of no use here was answered with success."""

    def instance_refused(self, status: StoreStatus) -> None:
        """Take notice that an instance was answered with a failure."""
