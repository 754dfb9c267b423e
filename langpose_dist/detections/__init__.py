"""2D detections of people, as their detectors write them."""

from langpose_dist.detections.layouts import LAYOUTS
from langpose_dist.detections.reading import read_tracks
from langpose_dist.detections.track import Track, Tracks

__all__ = ["LAYOUTS", "Track", "Tracks", "read_tracks"]
