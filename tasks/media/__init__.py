"""The media stage: an object's bytes in, bytes one provider accepts out, or `Unfit` with a reason.

prepare     the way through all of them
sniff       what the bytes are, whatever the name says
limits      what each provider accepts, every number with its source; how much of it is followed
headers     size, orientation and completeness of an ordinary JPEG or PNG, in microseconds
images      judge an image
reencode    make the smallest change to an image that fits (in a worker)
pictures    open and decode foreign pictures (in a worker)
colours     any mode and profile as sRGB or grey (in a worker)
containers  how a video's container is read, whether it is cut, how it is padded
videos      probe a video (in a worker); judge it
segments    which part of a video is sent
clips       make the smallest change to a video that fits (in a worker)
transcode   decode a segment and code it anew (in a worker)
workers     niced, bounded child processes that may be killed
decoder     the child's side of them
"""
