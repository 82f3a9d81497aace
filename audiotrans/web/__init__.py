"""A local page that converts in the browser; calls only the translation package."""
