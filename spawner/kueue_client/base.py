"""What all of Kueue's objects share: their form on the wire, metadata, times and conditions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic.alias_generators import to_camel

from kueue_client.enums import ConditionStatus, ConditionType, Reason
from kueue_client.errors import Unexpected

GROUP = "kueue.x-k8s.io"
VERSION = "v1beta2"
API_VERSION = f"{GROUP}/{VERSION}"

JsonObject = dict[str, Any]
"""JSON that is handed on as it is: what it means is not Kueue's to say."""


def _rfc3339(value: datetime) -> str:
    there = value.astimezone(UTC)
    return there.isoformat(timespec="microseconds" if there.microsecond else "seconds").replace(
        "+00:00", "Z"
    )


Time = Annotated[AwareDatetime, PlainSerializer(_rfc3339)]
"""A moment, as the API writes it: in UTC, to the second."""


class Model(BaseModel):
    """A part of an object.

    Attributes have Python's spelling and take it (``queue_name``); the wire has the API's
    (``queueName``). Fields that this version of the client does not know are kept, and written
    back. What was never set is not written.
    """

    model_config = ConfigDict(
        extra="allow",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        validate_assignment=True,
        serialize_by_alias=True,
    )

    @model_serializer(mode="wrap")
    def _without_what_was_never_set(self, write: SerializerFunctionWrapHandler) -> JsonObject:
        found: JsonObject = write(self)
        for name, field in type(self).model_fields.items():
            if name not in self.model_fields_set:
                alias = field.alias or name
                if not found.get(alias):  # no text, number or flag of the API is unset and falsy
                    found.pop(alias, None)
        return found

    @classmethod
    def from_wire(cls, data: object) -> Self:
        """Read what the API sent.

        Raises:
            Unexpected: It is nothing that this version of the API would send.
        """
        try:
            return cls.model_validate(data, by_alias=True, by_name=False)
        except ValidationError as error:
            raise Unexpected(
                f"The API server sent no {cls.__name__} of {API_VERSION}: {_sentence(error)}."
            ) from error

    def to_wire(self) -> JsonObject:
        """What the API is sent."""
        return self.model_dump(mode="json", by_alias=True)


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "it"
    return f"{place}: {first['msg']}"


class ObjectMeta(Model):
    """An object's metadata."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    uid: str = ""
    resource_version: str = ""
    generation: int | None = None
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    finalizers: list[str] = Field(default_factory=list)
    owner_references: list[JsonObject] = Field(default_factory=list)
    managed_fields: list[JsonObject] = Field(default_factory=list)


class Object(Model):
    """An object of the API."""

    plural: ClassVar[str]
    """What its collection is called in a path."""
    namespaced: ClassVar[bool] = False

    api_version: str = API_VERSION
    kind: str = ""
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    @property
    def name(self) -> str:
        """The object's name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """The object's namespace; empty for one that is in none."""
        return self.metadata.namespace

    def to_wire(self) -> JsonObject:
        """What the API is sent: always with what it is."""
        return {"apiVersion": self.api_version, "kind": type(self).__name__, **super().to_wire()}


class Condition(Model):
    """Something that holds of an object, or does not, since when and why."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str
    last_transition_time: Time
    observed_generation: int | None = None

    @property
    def holds(self) -> bool:
        """Whether it is true."""
        return self.status is ConditionStatus.TRUE


def find(conditions: list[Condition], kind: ConditionType) -> Condition | None:
    """The condition of a type, or None where nothing was said of it yet."""
    return next((one for one in conditions if one.type == kind), None)
