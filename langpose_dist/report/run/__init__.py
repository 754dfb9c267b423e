"""The report of runs: their folders, their evaluations, and whatever JSON reports are given with them."""
