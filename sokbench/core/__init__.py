"""The ground floor: the vocabulary every other part speaks. Imports nothing above itself."""
