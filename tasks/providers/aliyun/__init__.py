"""Alibaba Cloud `DeepfakeDetect` (Cloudauth, 2019-03-07)."""
