from __future__ import annotations

import pytest

from arcetri_hub.factory import order_of
from arcetri_hub.settings import KubernetesSettings
from arcetri_spawner.estimates import Order


@pytest.mark.parametrize(
    ("kubernetes", "order"),
    [
        (None, Order.FIRST_COME),
        (KubernetesSettings(namespace="s", queue="slots"), Order.FIRST_COME),
        (KubernetesSettings(namespace="s", queue="kueue"), Order.FAIR_SHARE),
    ],
)
def test_only_kueue_weighs_groups_against_each_other(
    kubernetes: KubernetesSettings | None, order: Order
) -> None:
    assert order_of(kubernetes) is order
