"""Bounds whose lines are optimised: `sweep` bounds rows and has the gradients, `ascent` climbs, `relaxed` holds the
network of one input between its bounds, `margins` is alpha-CROWN; `many_boxes` is for splitting inputs."""
