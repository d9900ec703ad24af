"""Slow twins of the kernels: the same answer by the plainest code, for tests to compare with.

One file a kernel topic; nothing here is imported by the product.
"""

from __future__ import annotations

from .bed import *  # noqa: F403
from .coverage import *  # noqa: F403
from .hatches import *  # noqa: F403
from .meshes import *  # noqa: F403
from .motion import *  # noqa: F403
from .orders import *  # noqa: F403
from .outlines import *  # noqa: F403
from .routes import *  # noqa: F403
from .rover_plant import *  # noqa: F403
from .terrain import *  # noqa: F403
from .texts import *  # noqa: F403
