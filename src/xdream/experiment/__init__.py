"""The experiment: the plan, what it is assembled from, the loop, and when it stops."""
