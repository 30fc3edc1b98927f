"""What the input may be: l_p balls in a box (`inputs`), a few changes (`sparse`), synonyms, perturbed weights."""
