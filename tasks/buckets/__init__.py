"""Buckets: list and fetch media in Amazon S3 (and what speaks it), Alibaba OSS or a local folder.

bucket     what every store must do, and where a url points     s3, oss, local   the stores, as equals
fetching   the bounded GET s3 and oss share                     refusals    what stores say no with
ranges     one listing by several listers                       whole_file  files that appear whole
listing    a listing as Parquet parts                           inventory   what stands in for a listing
"""
