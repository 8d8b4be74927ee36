"""Is a photo fit to be a listing's: what is measured on the pixels, judged by a profile, with advice."""

from indexer.decisions.quality.examine import examine
from indexer.decisions.quality.findings import CODES, Finding
from indexer.decisions.quality.profiles import MARKETPLACE, PROFILES, STUDIO, Demand, Profile, overall, profile
from indexer.decisions.quality.shop import ShopQuality

__all__ = [
    "CODES",
    "MARKETPLACE",
    "PROFILES",
    "STUDIO",
    "Demand",
    "Finding",
    "Profile",
    "ShopQuality",
    "examine",
    "overall",
    "profile",
]
