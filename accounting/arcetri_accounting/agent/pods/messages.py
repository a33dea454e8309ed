"""The messages of the kubelet's PodResources API, version 1, as far as they are read here.

Field numbers are those of ``k8s.io/kubelet/pkg/apis/podresources/v1/api.proto``; what else is in a
message is passed over. They are described here rather than generated: it takes no compiler.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE: Final = "v1.PodResourcesLister"

_MESSAGES: Final = {
    "ContainerDevices": {"resource_name": (1, ""), "device_ids": (2, "*")},
    "ContainerResources": {"name": (1, ""), "devices": (2, "*ContainerDevices")},
    "PodResources": {
        "name": (1, ""),
        "namespace": (2, ""),
        "containers": (3, "*ContainerResources"),
    },
    "ListPodResourcesResponse": {"pod_resources": (1, "*PodResources")},
    "AllocatableResourcesResponse": {"devices": (1, "*ContainerDevices")},
}
"""Each field's number, and what it holds: text, or another message; ``*`` where there are many."""


def _described() -> FileDescriptorProto:
    file = FileDescriptorProto(name="podresources.proto", package="v1", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = DescriptorProto(name=name)
        for field, (number, kind) in fields.items():
            holds = kind.removeprefix("*")
            message.field.add(
                name=field,
                number=number,
                label=(
                    FieldDescriptorProto.LABEL_REPEATED
                    if kind.startswith("*")
                    else FieldDescriptorProto.LABEL_OPTIONAL
                ),
                type=(
                    FieldDescriptorProto.TYPE_MESSAGE if holds else FieldDescriptorProto.TYPE_STRING
                ),
                type_name=f".v1.{holds}" if holds else None,
            )
        file.message_type.add().CopyFrom(message)
    return file


_POOL: Final = DescriptorPool()
_POOL.Add(_described())


def message(name: str) -> Any:
    """The class of a message, such as ``ListPodResourcesResponse``."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"v1.{name}"))
