"""Builds all that a cluster and its tests need: ``python -m tests.cluster.prepare``.

With ``--where-possible`` a machine that cannot run a cluster is left alone: the tests say what they
are skipped for. With ``--to-start`` only that is built without which a cluster does not start; a
person's images are built when they are asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tests.cluster import builds, cache, images
from tests.cluster.cache import ClusterError
from tests.cluster.images import Image
from tests.support import tiers


def main(arguments: list[str]) -> int:
    """Build what is missing; the exit status."""
    reasons = [why for name in tiers.TIERS["cluster"] if (why := tiers.missing(name))]
    if reasons and "--where-possible" in arguments:
        return 0
    try:
        if reasons:
            raise ClusterError(f"A cluster cannot run here: {'; '.join(reasons)}.")
        alone = "--to-start" in arguments
        builds.build(extras=not alone)
        _build(images.BUILTIN if alone else images.ALL.values())
        cache.prune()
    except ClusterError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _build(wanted: Iterable[Image]) -> None:
    """Build images side by side, one for each processor: most of a build waits for one."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as several:
        for built in [several.submit(images.build, image) for image in wanted]:
            built.result()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
