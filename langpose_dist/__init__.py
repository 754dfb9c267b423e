"""Training system for LangPose: 2D-to-3D human pose lifting aligned with language."""

__version__ = "0.1.0"
