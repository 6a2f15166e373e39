"""The media stage: an object's bytes in, bytes one provider accepts out, or `Unfit` with a reason.

prepare   the way through all of them
sniff     what the bytes are, whatever the name says
limits    what each provider accepts, every number with its source
headers   size, orientation and completeness of an ordinary JPEG or PNG, in microseconds
images    judge an image; make the smallest change that fits (in a worker)
pictures  open and decode foreign pictures (in a worker)
videos    probe a video (in a worker); judge it
workers   niced, bounded child processes that may be killed
decoder   the child's side of them
"""
