"""Finds the nearest of many texts or images: features on disk, exact and approximate search, CLIPRe, image banks."""
