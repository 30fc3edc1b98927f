"""The same network in other terms: `simplify` folds and merges, `gates` names activations, `max_to_relu` is for those
who know ReLUs only, `affine` for those who want matrices, `reduction` makes a property a classification."""
