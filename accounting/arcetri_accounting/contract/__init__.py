"""What the parts of the platform promise each other about usage; imports nothing but Pydantic."""

from arcetri_accounting.contract.journal import (
    ACK_SUFFIX,
    JOURNAL_NAME,
    JOURNAL_VERSION,
    JournalAck,
    JournalRecord,
    LeasedDevice,
    LeaseEnded,
    LeaseStarted,
    parse_journal_line,
)
from arcetri_accounting.contract.share import SHARE_UNITS, Share

__all__ = [
    "ACK_SUFFIX",
    "JOURNAL_NAME",
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
