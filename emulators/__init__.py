"""Local Tencent and Aliyun detection services: `python -m emulators`.

They share no code with the product and meet it over HTTP only, so they can find its mistakes. What
they check is written from the providers' documents (docs/providers.md); where those are silent, the
place says "inferred".

service           one listening service: arrival, pipeline, delivery     control     /_emulator/ endpoints
tencent, aliyun   the two APIs, with *_signature for their schemes       accounts    the keys they know
quota             one-second windows                                     trouble     scripted faults
media_limits      documented limits of media, by content                 verdicts    bytes to verdict
face_url          fetching Aliyun's FaceUrl                              calls       the arrival log
oss               an object store with OSS's signatures and XML (oss_*)
"""
