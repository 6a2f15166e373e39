"""Detect: put prepared media to a provider and bring back its answer.

detector     what every provider's client promises      vocabulary   raw tags to our tags
exchange     one HTTP request and its reply             replies      tolerant reading of a reply's JSON
endpoints    where requests go, and where to go next    failures     what a provider's error codes mean
standing     what a run has learned of its account      credentials  keys from the official chains
tencent/     DetectAIFakeFaces                          aliyun/      DeepfakeDetect
"""
