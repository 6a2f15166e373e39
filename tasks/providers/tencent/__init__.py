"""Tencent Cloud `DetectAIFakeFaces` (faceid, 2018-03-01)."""
