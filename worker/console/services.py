"""What the pages share: settings, records, stored results, accounts. Built once, found through the application."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from flask import current_app

from worker.accounts import Accounts
from worker.console.pictures import Pictures
from worker.console.turns import Turns
from worker.database import Database
from worker.destinations import Destination
from worker.installation_key import InstallationKey
from worker.ports import Clock
from worker.settings import Settings
from worker.sign_in import SignIns
from worker.storage import ResultStore

EXTENSION = "cspine"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a page may need."""

    settings: Settings
    database: Database
    results: ResultStore
    accounts: Accounts
    destinations: Sequence[Destination]
    pictures: Pictures
    uploads: Turns = field(default_factory=Turns)

    @property
    def sign_ins(self) -> SignIns:
        """Who is behind a request."""
        return self.accounts.sign_ins

    @property
    def key(self) -> InstallationKey:
        """The secret of this installation."""
        return self.accounts.sign_ins.key

    @property
    def clock(self) -> Clock:
        """The clock."""
        return self.accounts.sign_ins.clock

    def now(self) -> datetime:
        """The time now."""
        return self.accounts.sign_ins.clock()


def services() -> Services:
    """The services of the application that answers."""
    return cast("Services", current_app.extensions[EXTENSION])
