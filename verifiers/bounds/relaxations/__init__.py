"""Lines and planes around nonlinear operations, each a pure function of bounds of the inputs; `nonlinear` chooses."""
