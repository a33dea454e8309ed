"""What the parts of the platform promise each other about usage; imports nothing but Pydantic."""

from arcetri_accounting.contract.share import SHARE_UNITS, Share
from arcetri_accounting.contract.journal import (
    JOURNAL_VERSION,
    JournalAck,
    JournalRecord,
    LeaseEnded,
    LeaseStarted,
    LeasedDevice,
    parse_journal_line,
)

__all__ = [
    "JOURNAL_VERSION",
    "SHARE_UNITS",
    "JournalAck",
    "JournalRecord",
    "LeaseEnded",
    "LeaseStarted",
    "LeasedDevice",
    "Share",
    "parse_journal_line",
]
