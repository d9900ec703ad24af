"""A program of its own: reads a STEP file with gmsh and leaves its triangles, in mm, in an .npz file.

Run as `python step_triangles.py IN.step OUT.npz`. It imports nothing of ours, so that gmsh (GPL) shares a process with
nothing but numpy.
"""

from __future__ import annotations

import sys

FACETS_PER_TURN = 48


def main(step_path: str, out_path: str) -> None:
    """Read, triangulate and write; what goes wrong ends the process with gmsh's sentence."""
    import gmsh
    import numpy as np

    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.option.setString("Geometry.OCCTargetUnit", "MM")
        gmsh.option.setNumber("Mesh.MeshSizeFromCurvature", FACETS_PER_TURN)
        gmsh.option.setNumber("Mesh.MeshSizeFromPoints", 0)
        gmsh.option.setNumber("Mesh.MeshSizeExtendFromBoundary", 0)
        gmsh.option.setNumber("General.NumThreads", 1)
        gmsh.model.occ.importShapes(step_path, format="step")
        gmsh.model.occ.synchronize()
        if not gmsh.model.getEntities(2):
            sys.exit("the file holds no surface")
        gmsh.model.mesh.generate(2)
        tags, coordinates, _ = gmsh.model.mesh.getNodes()
        corners = gmsh.model.mesh.getElementsByType(2)[1]  # 2: a triangle of three corners
        order = np.argsort(tags)
        faces = order[np.searchsorted(tags, corners, sorter=order)]
        np.savez(out_path, vertices=np.reshape(coordinates, (-1, 3)), faces=np.reshape(faces, (-1, 3)))
    except Exception as error:  # gmsh raises plain Exceptions; the parent turns this line into a sentence
        sys.exit(str(error).splitlines()[0] if str(error) else type(error).__name__)
    finally:
        gmsh.finalize()


if __name__ == "__main__":
    main(*sys.argv[1:])
