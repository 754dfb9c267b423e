"""Pictures of lifted people: a page to turn the figure on, GIF, MP4, and drawings on the video's frames."""
