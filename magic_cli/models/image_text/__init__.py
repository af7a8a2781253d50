"""Image-text models: one base class, one small adapter a family."""
