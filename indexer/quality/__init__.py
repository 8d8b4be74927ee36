"""Photo quality: findings with scores, levels by profile, and advice."""
