"""One module a step; a step never changes after its release."""
