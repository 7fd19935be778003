"""The aggregates of one database, opened together by the composition root. A service takes those that it needs."""

from __future__ import annotations

from entrepot.metadata.accounts import AccountRecords
from entrepot.metadata.base import Database
from entrepot.metadata.housekeeping import Housekeeping
from entrepot.metadata.jobs import JobRecords
from entrepot.metadata.leases import Leases
from entrepot.metadata.objects import ObjectRecords
from entrepot.metadata.uploads import UploadSessionRecords


class Metadata:
    """All aggregates of a database."""

    def __init__(self, database: Database) -> None:
        self.accounts = AccountRecords(database)
        self.uploads = UploadSessionRecords(database)
        self.objects = ObjectRecords(database)
        self.housekeeping = Housekeeping(database)
        self.leases = Leases(database)
        self.jobs = JobRecords(database)
