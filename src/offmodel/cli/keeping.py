"""`offmodel store gc|export|merge`: thin words around `store.maintenance`."""
