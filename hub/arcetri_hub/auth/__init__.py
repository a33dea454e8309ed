"""Login through INDIGO IAM, and what the hub knows of the people who logged in."""

from arcetri_hub.auth.answers import AnswerKind
from arcetri_hub.auth.authenticator import Accounts, IamAuthenticator
from arcetri_hub.auth.identities import HubIdentities

ANSWER_KINDS = tuple(kind.value for kind in AnswerKind)
"""Every word ``IamAuthenticator.observe_answer`` is called with."""

__all__ = ["ANSWER_KINDS", "Accounts", "HubIdentities", "IamAuthenticator"]
