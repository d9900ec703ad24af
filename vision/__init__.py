"""Frames in, findings out. numpy and OpenCV only, and neither is imported before a module that needs it is."""
