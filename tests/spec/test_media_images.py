"""Media: an image goes untouched wherever the provider takes it, else changed as little as fits."""

import hashlib
import io
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

import pillow_heif
import pytest
from PIL import Image, ImageCms

from domain.errors import FacesweepError, Unfit
from domain.media import PreparedMedia
from domain.objects import MediaKind
from tasks.media.limits import ALIYUN, TENCENT, ImagePolicy, ProviderLimits
from tasks.media.prepare import prepare
from tasks.media.reencode import reencode
from tasks.media.sniff import Format
from tasks.media.workers import MediaWorkers
from tests import media_corpus
from tests.icc import swapped_profile

pytestmark = pytest.mark.anyio

ORIENTATION = 0x0112
pillow_heif.register_heif_opener()


@pytest.fixture(scope="module")
async def workers(anyio_backend: str) -> AsyncIterator[MediaWorkers]:
    async with MediaWorkers(processes=1) as workers:
        yield workers


def grain(size: tuple[int, int], seed: int = 1) -> Image.Image:
    """Noise, which no codec compresses well."""
    dice = random.Random(seed)
    return Image.frombytes("RGB", size, dice.randbytes(size[0] * size[1] * 3))


def quarters(size: tuple[int, int]) -> Image.Image:
    """Red, green, blue and black quarters, clockwise from the upper left."""
    picture = Image.new("RGB", size)
    half = (size[0] // 2, size[1] // 2)
    picture.paste((255, 0, 0), (0, 0, *half))
    picture.paste((0, 255, 0), (half[0], 0, size[0], half[1]))
    picture.paste((0, 0, 255), (half[0], half[1], *size))
    return picture


def saved(picture: Image.Image, form: str = "JPEG", orientation: int = 1, **options: object) -> bytes:
    if orientation != 1:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def portrait(**options: object) -> bytes:
    return saved(grain((240, 320)), quality=60, **options)


def opened(media: PreparedMedia) -> Image.Image:
    return Image.open(io.BytesIO(media.content))


async def reason(content: bytes, limits: ProviderLimits, workers: MediaWorkers) -> str:
    with pytest.raises(Unfit) as refusal:
        await prepare(content, limits, workers)
    return refusal.value.reason


@pytest.mark.parametrize("limits", [TENCENT, ALIYUN], ids=["tencent", "aliyun"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
async def test_a_portrait_jpeg_goes_untouched(
    limits: ProviderLimits, options: dict[str, object], workers: MediaWorkers
) -> None:
    content = portrait(**options)
    media = await prepare(content, limits, workers)
    assert media.content is content
    assert media.kind is MediaKind.IMAGE
    assert media.preparation == "untouched"
    assert media.content_sha256 == media.sent_sha256 == hashlib.sha256(content).hexdigest()


async def test_an_ordinary_image_within_the_limits_needs_no_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The untouched path decodes nothing, so it works where no child process can be started."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    async with MediaWorkers(processes=1) as workers:
        await prepare(portrait(), TENCENT, workers)
        await prepare(portrait(), ALIYUN, workers)
        await prepare(saved(grain((120, 160)), "PNG"), TENCENT, workers)
        with pytest.raises(FacesweepError, match="no child process to decode media"):
            await prepare(saved(grain((30, 40)), "PNG"), ALIYUN, workers)


async def test_a_png_goes_untouched_to_tencent_and_as_jpeg_to_aliyun(workers: MediaWorkers) -> None:
    content = saved(quarters((240, 320)), "PNG")
    assert (await prepare(content, TENCENT, workers)).content is content
    media = await prepare(content, ALIYUN, workers)
    assert media.preparation == "jpeg q92 from png"
    assert opened(media).format == "JPEG"
    assert media.content_sha256 == hashlib.sha256(content).hexdigest()
    assert media.sent_sha256 == hashlib.sha256(media.content).hexdigest()


@pytest.mark.parametrize(
    ("stored", "orientation", "preparation", "sent"),
    [
        ((640, 480), 1, "untouched", (640, 480)),
        ((640, 480), 3, "untouched", (640, 480)),
        ((640, 480), 6, "upright, jpeg q92", (480, 640)),
        ((640, 480), 8, "upright, jpeg q92", (480, 640)),
        ((480, 640), 6, "untouched", (480, 640)),
        ((1000, 1500), 6, "resized 1000x1500 to 720x1080, upright, jpeg q92", (1080, 720)),
        ((1500, 1000), 6, "upright, jpeg q92", (1000, 1500)),
        ((1920, 1080), 1, "resized 1920x1080 to 1080x608, jpeg q92", (1080, 608)),
        ((1080, 1920), 1, "untouched", (1080, 1920)),
        ((1081, 1921), 1, "resized 1081x1921 to 1080x1919, jpeg q92", (1080, 1919)),
        ((1024, 768), 5, "upright, jpeg q92", (768, 1024)),
        ((2048, 1536), 6, "resized 2048x1536 to 1440x1080, upright, jpeg q92", (1080, 1440)),
    ],
)
async def test_aliyun_gets_what_fits_as_stored_and_as_upright(
    stored: tuple[int, int],
    orientation: int,
    preparation: str,
    sent: tuple[int, int],
    workers: MediaWorkers,
) -> None:
    """1080 wide, 1920 high; turned where only EXIF makes a portrait of it; a landscape is not turned."""
    content = saved(quarters(stored), orientation=orientation)
    media = await prepare(content, ALIYUN, workers)
    assert media.preparation == preparation
    assert opened(media).size == sent
    tencents = await prepare(content, TENCENT, workers)
    assert tencents.content is content, "Tencent documents no rule about pixels"


@pytest.mark.parametrize("orientation", range(2, 9))
async def test_a_turned_image_stands_as_exif_says(orientation: int, workers: MediaWorkers) -> None:
    content = saved(quarters((1200, 1600)), orientation=orientation, quality=95)
    media = await prepare(content, ALIYUN, workers)
    sent = opened(media)
    assert sent.getexif().get(ORIENTATION) is None
    with Image.open(io.BytesIO(content)) as original:
        pixels = original.load()
        corners = {
            2: (1199, 0), 3: (1199, 1599), 4: (0, 1599), 5: (0, 0),
            6: (0, 1599), 7: (1199, 1599), 8: (1199, 0),
        }  # fmt: skip
        assert pixels is not None
        expected = pixels[corners[orientation]]
    found = sent.getpixel((0, 0))
    assert isinstance(found, tuple)
    assert isinstance(expected, tuple)
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 12


async def test_too_many_bytes_for_tencent_become_fewer(workers: MediaWorkers) -> None:
    content = saved(grain((1000, 900)), "PNG")
    assert len(content) > TENCENT.max_image_bytes
    media = await prepare(content, TENCENT, workers)
    assert len(media.content) <= 2_250_000
    assert media.preparation == "jpeg q92 from png"


@pytest.mark.parametrize("base64_bytes", [400_000, 60_000, 8_000])
async def test_a_smaller_limit_costs_pixels_rather_than_quality(
    base64_bytes: int, workers: MediaWorkers
) -> None:
    content = saved(grain((800, 1000)), quality=95)
    limits = replace(TENCENT, image_base64_bytes=base64_bytes)
    media = await prepare(content, limits, workers)
    assert len(media.content) <= limits.max_image_bytes
    sent = opened(media)
    assert sent.width < 800
    assert abs(sent.width / sent.height - 0.8) < 0.03
    assert media.preparation.startswith(f"resized 800x1000 to {sent.width}x{sent.height}, jpeg q")


async def test_no_jpeg_is_small_enough_for_an_absurd_limit(workers: MediaWorkers) -> None:
    limits = replace(TENCENT, image_base64_bytes=400)
    assert await reason(portrait(), limits, workers) == "too_large"


async def test_cmyk_becomes_rgb_of_the_same_colours(workers: MediaWorkers) -> None:
    content = saved(quarters((240, 320)).convert("CMYK"))
    media = await prepare(content, TENCENT, workers)
    assert media.preparation == "rgb from cmyk, jpeg q92"
    sent = opened(media)
    assert sent.mode == "RGB"
    red = sent.getpixel((20, 20))
    assert isinstance(red, tuple)
    assert red[0] > 200
    assert max(red[1:]) < 60


async def test_transparency_becomes_white(workers: MediaWorkers) -> None:
    content = saved(Image.new("RGBA", (60, 80), (200, 0, 0, 0)), "PNG")
    media = await prepare(content, ALIYUN, workers)
    assert media.preparation == "flattened on white, jpeg q92 from png"
    assert opened(media).getpixel((30, 40)) == (255, 255, 255)


async def test_sixteen_bits_become_eight_by_scaling(workers: MediaWorkers) -> None:
    content = saved(Image.new("I;16", (60, 80), 0x8000), "PNG")
    media = await prepare(content, ALIYUN, workers)
    assert media.preparation == "8 bit from 16, jpeg q92 from png"
    assert opened(media).getpixel((30, 40)) == 0x80


async def test_the_first_frame_stands_for_an_animation(workers: MediaWorkers) -> None:
    frames = [Image.new("RGB", (120, 160), colour) for colour in ("red", "blue")]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    media = await prepare(content, TENCENT, workers)
    assert media.preparation == "first frame, jpeg q92 from gif"
    red = opened(media).getpixel((30, 40))
    assert isinstance(red, tuple)
    assert red[0] > 240
    assert red[2] < 20


@pytest.mark.parametrize("form", ["GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000", "HEIF"])
async def test_formats_no_provider_takes_become_jpeg(form: str, workers: MediaWorkers) -> None:
    media = await prepare(saved(quarters((120, 160)), form), TENCENT, workers)
    assert media.preparation == f"jpeg q92 from {form.lower()}"
    assert (opened(media).format, opened(media).size) == ("JPEG", (120, 160))


async def test_several_pictures_in_one_jpeg_count_as_its_first(workers: MediaWorkers) -> None:
    """MPO, as phones with several lenses write it, is sent whole where a JPEG would be."""
    first, second = quarters((240, 320)), Image.new("RGB", (120, 160), "tan")
    content = saved(first, "MPO", save_all=True, append_images=[second])
    assert (await prepare(content, ALIYUN, workers)).content is content
    large = saved(quarters((1440, 1920)), "MPO", save_all=True, append_images=[second])
    media = await prepare(large, ALIYUN, workers)
    assert media.preparation == "resized 1440x1920 to 1080x1440, jpeg q92"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF"])
async def test_a_colour_profile_is_applied_and_left_behind(form: str, workers: MediaWorkers) -> None:
    """Red by the profile is blue in sRGB: whoever ignores or only drops it shows another face."""
    profile = swapped_profile()
    content = saved(Image.new("RGB", (1200, 1600), (220, 40, 40)), form, icc_profile=profile)
    media = await prepare(content, ALIYUN, workers)
    assert media.preparation.startswith("srgb from icc, resized")
    sent = opened(media)
    assert "icc_profile" not in sent.info
    colour = sent.getpixel((300, 400))
    assert isinstance(colour, tuple)
    assert colour[2] > 200
    assert colour[0] < 60


@pytest.mark.parametrize("profile", [b"icc" * 50, bytes(4096), b""])
async def test_a_broken_colour_profile_costs_the_profile_and_not_the_picture(
    profile: bytes, workers: MediaWorkers
) -> None:
    content = saved(Image.new("RGB", (1200, 1600), (220, 40, 40)), icc_profile=profile)
    media = await prepare(content, ALIYUN, workers)
    assert media.preparation == "resized 1200x1600 to 1080x1440, jpeg q92"


async def test_the_srgb_profile_the_place_and_comments_stay_behind(workers: MediaWorkers) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8825)[1] = "N"
    content = saved(quarters((1200, 1600)), exif=exif, comment=b"taken at home", icc_profile=profile)
    media = await prepare(content, ALIYUN, workers)
    assert media.preparation == "resized 1200x1600 to 1080x1440, jpeg q92"
    sent = opened(media)
    assert not {"icc_profile", "comment"} & set(sent.info)
    assert not sent.getexif()


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "AVIF", "PNG"])
async def test_every_format_that_knows_an_orientation_ends_upright(form: str, workers: MediaWorkers) -> None:
    content = saved(quarters((320, 240)), form, orientation=6)
    sent = opened(await prepare(content, ALIYUN, workers))
    assert sent.size == (240, 320)
    # Clockwise from the upper left the quarters were red, green, blue, black; a turn to the right moves them
    red = sent.getpixel((200, 40))
    assert isinstance(red, tuple)
    assert red[0] > 200
    assert max(red[1:]) < 60


async def test_a_heic_is_turned_by_its_container_and_not_again_by_its_exif(workers: MediaWorkers) -> None:
    content = media_corpus.heif([media_corpus.turned(quarters((320, 240)))])
    stored = content.index(b"ispe") + 8
    assert content[stored : stored + 8] == (240).to_bytes(4) + (320).to_bytes(4)
    assert content[content.index(b"irot") + 4] in (1, 3), "a quarter turn"
    media = await prepare(content, ALIYUN, workers)
    assert (opened(media).size, media.preparation) == ((320, 240), "jpeg q92 from heif")


@pytest.mark.parametrize("frame", [0xC0, 0xC1, 0xC2])
async def test_a_jpeg_of_12_bits_is_an_unsupported_format(frame: int, workers: MediaWorkers) -> None:
    content = bytearray(portrait())
    at = content.index(b"\xff\xc0")
    content[at + 1], content[at + 4] = frame, 12
    assert await reason(bytes(content), TENCENT, workers) == "unsupported_format"
    assert await reason(bytes(content), ALIYUN, workers) == "unsupported_format"


@pytest.mark.parametrize("size", [(99, 400), (400, 99), (30, 40)])
async def test_what_is_below_the_least_size_is_unfit_and_never_enlarged(
    size: tuple[int, int], workers: MediaWorkers
) -> None:
    for form in ("JPEG", "PNG", "WEBP"):
        assert await reason(saved(quarters(size), form), TENCENT, workers) == "image_too_small"
    assert opened(await prepare(saved(quarters(size), "PNG"), ALIYUN, workers)).size == size


@pytest.mark.parametrize(
    ("policy", "limits", "stored", "orientation", "preparation"),
    [
        ("documented", ALIYUN, (480, 640), 1, "untouched"),
        ("documented", ALIYUN, (640, 480), 1, "padded 640x480 to 640x641, jpeg q92"),
        ("documented", ALIYUN, (640, 640), 1, "padded 640x640 to 640x641, jpeg q92"),
        ("documented", ALIYUN, (480, 640), 3, "upright, jpeg q92"),
        ("documented", ALIYUN, (640, 480), 8, "upright, jpeg q92"),
        (
            "documented",
            ALIYUN,
            (1920, 1080),
            1,
            "resized 1920x1080 to 1080x608, padded 1080x608 to 1080x1081, jpeg q92",
        ),
        ("documented", TENCENT, (640, 480), 1, "untouched"),
        ("documented", TENCENT, (640, 480), 6, "upright, jpeg q92"),
        ("recommended", ALIYUN, (720, 960), 1, "untouched"),
        ("recommended", ALIYUN, (1080, 1440), 1, "resized 1080x1440 to 720x960, jpeg q80"),
        ("recommended", TENCENT, (480, 640), 1, "untouched"),
        ("recommended", TENCENT, (1200, 1600), 1, "resized 1200x1600 to 480x640, jpeg q92"),
        ("recommended", TENCENT, (1600, 1200), 1, "resized 1600x1200 to 640x480, jpeg q92"),
        ("recommended", TENCENT, (2000, 200), 1, "resized 2000x200 to 1000x100, jpeg q92"),
    ],
)
async def test_a_policy_follows_the_documents_further(
    policy: str,
    limits: ProviderLimits,
    stored: tuple[int, int],
    orientation: int,
    preparation: str,
    workers: MediaWorkers,
) -> None:
    """A landscape picture is padded, not turned; advice yields to the least size of a face."""
    strict = replace(limits, image_policy=ImagePolicy(policy))
    content = saved(quarters(stored), orientation=orientation)
    media = await prepare(content, strict, workers)
    assert media.preparation == preparation
    sent = opened(media)
    assert sent.getexif().get(ORIENTATION, 1) == 1
    assert not strict.image_portrait or sent.height > sent.width
    assert (media.content is content) == (preparation == "untouched")


@pytest.mark.parametrize("size", [(640, 480), (1800, 2400), (3000, 2500)])
@pytest.mark.parametrize("kind", ["smooth", "photograph", "noise"])
def test_one_or_two_encodes_find_a_quality_that_fits(
    size: tuple[int, int], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encodes = []
    save = Image.Image.save

    def counted(picture: Image.Image, *args: object, **options: object) -> None:
        encodes.append(picture.size)
        save(picture, *args, **options)

    picture = quarters(size) if kind == "smooth" else grain(size)
    if kind == "photograph":
        picture = Image.blend(picture, quarters(size), 0.85)
    content = saved(picture, "BMP")
    monkeypatch.setattr(Image.Image, "save", counted)
    sent, _ = reencode(content, Format.BMP, TENCENT)
    assert len(sent) <= TENCENT.max_image_bytes
    assert len(encodes) <= 2


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
async def test_a_cut_upload_is_truncated(form: str, share: float, workers: MediaWorkers) -> None:
    content = saved(grain((120, 160)), form)
    cut = content[: int(len(content) * share)]
    assert await reason(cut, TENCENT, workers) == "truncated"
    assert await reason(cut, ALIYUN, workers) == "truncated"


async def test_the_end_of_a_thumbnail_does_not_hide_a_cut(workers: MediaWorkers) -> None:
    thumbnail = saved(Image.new("RGB", (16, 16)))
    assert thumbnail.endswith(b"\xff\xd9")
    app2 = b"\xff\xe2" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    content = portrait()
    whole = content[:2] + app2 + content[2:]
    assert (await prepare(whole, TENCENT, workers)).content is whole
    assert await reason(whole[:-400], TENCENT, workers) == "truncated"


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
async def test_bytes_after_the_end_do_no_harm(form: str, workers: MediaWorkers) -> None:
    """Phones append depth maps, second pictures and whole videos."""
    content = saved(grain((120, 160)), form) + b"\0" * 100_000
    assert (await prepare(content, TENCENT, workers)).content is content


async def test_an_unusual_header_is_settled_by_decoding(workers: MediaWorkers) -> None:
    """Fill bytes before a marker are legal and rare: a worker decodes the picture, and it goes untouched."""
    content = portrait()
    filled = content[:2] + b"\xff" * 3 + content[2:]
    assert (await prepare(filled, TENCENT, workers)).content is filled
    assert (await prepare(filled, ALIYUN, workers)).content is filled


async def test_a_damaged_png_is_not_sent_at_anyones_cost(workers: MediaWorkers) -> None:
    """Checksums are compared before a PNG goes untouched."""
    content = bytearray(saved(grain((60, 80)), "PNG"))
    content[content.index(b"IDAT") + 6] ^= 0xFF
    assert await reason(bytes(content), TENCENT, workers) == "undecodable"


async def test_damage_within_a_picture_that_must_be_decoded_is_undecodable(
    workers: MediaWorkers,
) -> None:
    content = saved(grain((60, 80)), "PNG")
    pixels = content.index(b"IDAT") + 4
    broken = content[:pixels] + b"\xff" * 20 + content[pixels + 20 :]
    assert await reason(broken, ALIYUN, workers) == "undecodable"


async def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(
    workers: MediaWorkers,
) -> None:
    content = saved(Image.new("1", (16_000, 16_000)), "PNG")
    assert len(content) < 100_000
    assert await reason(content, TENCENT, workers) == "too_many_pixels"
    assert await reason(content, ALIYUN, workers) == "too_many_pixels"


async def test_a_jpeg_may_claim_only_what_cameras_make(workers: MediaWorkers) -> None:
    content = bytearray(portrait())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = (60_000).to_bytes(2) * 2
    assert await reason(bytes(content), TENCENT, workers) == "too_many_pixels"


async def test_a_photograph_of_108_million_pixels_is_prepared(
    workers: MediaWorkers, capfd: pytest.CaptureFixture[str]
) -> None:
    """libjpeg decodes an eighth of each side; Pillow's warning about its size stays unheard."""
    content = saved(Image.new("L", (12_000, 9_000), 120), quality=30)
    media = await prepare(content, ALIYUN, workers)
    assert media.preparation == "resized 12000x9000 to 1080x810, jpeg q92"
    assert capfd.readouterr() == ("", "")


async def test_samples_without_an_agreed_white_are_an_unsupported_format(
    workers: MediaWorkers,
) -> None:
    for picture in (Image.new("F", (6, 8), 0.5), Image.new("I", (6, 8), 1 << 20)):
        assert await reason(saved(picture, "TIFF"), ALIYUN, workers) == "unsupported_format"


async def test_what_has_no_decoder_is_an_unsupported_format(workers: MediaWorkers) -> None:
    assert await reason(b"\xff\x0a" + bytes(64), TENCENT, workers) == "unsupported_format"


async def test_refusals_quote_no_byte_of_the_image(workers: MediaWorkers) -> None:
    secret = b"passport 123456"
    for content in (b"\xff\xd8\xff" + secret, b"\x89PNG\r\n\x1a\n" + secret, b"GIF89a" + secret, secret):
        with pytest.raises(Unfit) as refusal:
            await prepare(content, ALIYUN, workers)
        assert "passport" not in str(refusal.value)
