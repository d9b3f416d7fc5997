//! Resizing: antialiased, as Pillow resizes.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{F32, U8, U8x3, U16};
use fast_image_resize::{FilterType, ImageView, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use crate::crop::{Crop, Frame};
use crate::decode::{Image, Samples};

/// How a new pixel is made of old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// A triangle of two pixels to each side at most.
    Bilinear,
    /// A cubic with a = -1/2. Source: Pillow, `src/libImaging/Resample.c`, `bicubic_filter`.
    Bicubic,
}

impl Filter {
    fn kernel(self) -> FilterType {
        match self {
            Self::Bilinear => FilterType::Bilinear,
            Self::Bicubic => FilterType::CatmullRom,
        }
    }
}

/// Buffers of one thread, kept between images.
#[derive(Debug, Default)]
pub struct Scratch {
    resizer: Resizer,
}

impl Scratch {
    /// Empty buffers.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Cuts a crop out of an image and resizes it; mirroring is left to the caller.
///
/// Pixels outside the crop have no influence: the crop is given as a view, because the library's
/// own crop option reads across its edge.
///
/// # Shapes
/// `size`: `[H, W]`. The result: `[H, W, channels]`.
///
/// # Panics
/// When the crop is not inside the image, or a side of `size` is zero.
pub fn resize(
    image: &Image,
    crop: &Crop,
    size: [usize; 2],
    filter: Filter,
    scratch: &mut Scratch,
) -> Samples {
    let frame = Frame::whole(crop.width, crop.height);
    let job = Job {
        frame,
        size,
        kernel: filter.kernel(),
    };
    resize_crop(image, crop, &job, scratch)
}

/// Makes a whole image smaller by Lanczos' filter, which keeps most of what a later resize wants to see.
///
/// # Shapes
/// As [`resize`].
///
/// # Panics
/// When a side of `size` is zero.
pub fn shrink(image: &Image, size: [usize; 2], scratch: &mut Scratch) -> Samples {
    let job = Job {
        frame: Frame::whole(image.width, image.height),
        size,
        kernel: FilterType::Lanczos3,
    };
    let whole = Crop::whole(image.width, image.height);
    resize_crop(image, &whole, &job, scratch)
}

/// Resizes a whole image and cuts the frame out of it, without the work on what is cut away.
///
/// Unlike in [`resize`], pixels just outside the frame have their influence.
///
/// # Shapes
/// As [`resize`].
///
/// # Panics
/// When a side of `size` is zero.
pub(crate) fn resize_frame(
    image: &Image,
    frame: &Frame,
    size: [usize; 2],
    filter: Filter,
    scratch: &mut Scratch,
) -> Samples {
    // Only the rows that have an influence: a frame may be a small part of a very tall image.
    // Two pixels of the result to each side, the reach of the wider filter, and one for rounding.
    let reach = 2.0 * (frame.height / size[0] as f64).max(1.0) + 1.0;
    let first_row = (frame.top - reach).max(0.0) as usize;
    let last_row = ((frame.top + frame.height + reach).ceil() as usize).min(image.height);
    let rows = Crop {
        top: first_row,
        height: last_row - first_row,
        ..Crop::whole(image.width, image.height)
    };
    let top = frame.top - first_row as f64;
    // What rounding puts outside the image is less than a pixel's share that could be seen.
    let frame = Frame {
        top,
        width: within(frame.left, frame.width, rows.width as f64),
        height: within(top, frame.height, rows.height as f64),
        ..*frame
    };
    let job = Job {
        frame,
        size,
        kernel: filter.kernel(),
    };
    resize_crop(image, &rows, &job, scratch)
}

/// The largest part of `length` for which `start + length` is not beyond `end`, as added in f64.
fn within(start: f64, length: f64, end: f64) -> f64 {
    let mut length = length.min(end - start).max(0.0);
    while start + length > end {
        length = length.next_down();
    }
    length
}

/// What a crop becomes.
struct Job {
    /// The part that is seen, inside the crop.
    frame: Frame,
    /// `[H, W]` of the result.
    size: [usize; 2],
    kernel: FilterType,
}

fn resize_crop(image: &Image, crop: &Crop, job: &Job, scratch: &mut Scratch) -> Samples {
    let size = job.size;
    assert!(size[0] > 0 && size[1] > 0, "cannot resize to {size:?}");
    let resizer = &mut scratch.resizer;
    match &image.samples {
        // The usual case has a kernel of its own, on the interleaved samples.
        Samples::U8(values) if image.channels == 3 => {
            let (width, height) = (image.width as u32, image.height as u32);
            let view = TypedImageRef::<U8x3>::from_buffer(width, height, values);
            let view = view.expect("an image has as many samples as its sides say");
            let view = TypedCroppedImage::new(
                view,
                crop.left as u32,
                crop.top as u32,
                crop.width as u32,
                crop.height as u32,
            );
            let view = view.expect("the crop is inside the image");
            let pixels = resize_view(&view, job, resizer);
            Samples::U8(pixels.pixels().iter().flat_map(|pixel| pixel.0).collect())
        }
        Samples::U8(values) => Samples::U8(resize_planes(values, image, crop, job, resizer)),
        Samples::U16(values) => Samples::U16(resize_planes(values, image, crop, job, resizer)),
        Samples::F32(values) => Samples::F32(resize_planes(values, image, crop, job, resizer)),
    }
}

/// A sample that has a resize kernel for one channel.
trait Sample: Copy + Default {
    type Pixel: PixelTrait;
    fn pixel(self) -> Self::Pixel;
    fn sample(pixel: &Self::Pixel) -> Self;
}

impl Sample for u8 {
    type Pixel = U8;
    fn pixel(self) -> U8 {
        U8::new(self)
    }
    fn sample(pixel: &U8) -> Self {
        pixel.0
    }
}

impl Sample for u16 {
    type Pixel = U16;
    fn pixel(self) -> U16 {
        U16::new(self)
    }
    fn sample(pixel: &U16) -> Self {
        pixel.0
    }
}

impl Sample for f32 {
    type Pixel = F32;
    fn pixel(self) -> F32 {
        F32::new(self)
    }
    fn sample(pixel: &F32) -> Self {
        pixel.0
    }
}

/// Cuts out, resizes and puts back one channel after the other, for any number of channels.
fn resize_planes<T: Sample>(
    values: &[T],
    image: &Image,
    crop: &Crop,
    job: &Job,
    resizer: &mut Resizer,
) -> Vec<T> {
    let (size, channels) = (job.size, image.channels);
    let mut resized = vec![T::default(); size[0] * size[1] * channels];
    for channel in 0..channels {
        let rows = values.chunks_exact(image.width * channels);
        let plane = rows.skip(crop.top).take(crop.height).flat_map(|row| {
            let samples = row[channel..].iter().step_by(channels);
            samples.skip(crop.left).take(crop.width)
        });
        let plane: Vec<T::Pixel> = plane.map(|sample| sample.pixel()).collect();
        let view = TypedImageRef::new(crop.width as u32, crop.height as u32, &plane);
        let view = view.expect("the crop is inside the image");
        let small = resize_view(&view, job, resizer);
        let places = resized[channel..].iter_mut().step_by(channels);
        for (place, pixel) in places.zip(small.pixels()) {
            *place = T::sample(pixel);
        }
    }
    resized
}

fn resize_view<P: PixelTrait>(
    view: &impl ImageView<Pixel = P>,
    job: &Job,
    resizer: &mut Resizer,
) -> TypedImage<'static, P> {
    let [height, width] = job.size;
    let Frame {
        left,
        top,
        width: frame_w,
        height: frame_h,
    } = job.frame;
    if job.kernel == FilterType::Bilinear {
        let options = convolution(job.kernel).crop(left, top, frame_w, frame_h);
        return convolved(view, [height, width], &options, resizer);
    }
    // The others overshoot and are cut off behind each pass, so that their order shows: the
    // reference's is rows first, the library's is not.
    let rows = f64::from(view.height());
    let along = convolution(job.kernel).crop(left, 0.0, frame_w, rows);
    let narrow = convolved(view, [view.height() as usize, width], &along, resizer);
    let down = convolution(job.kernel).crop(0.0, top, width as f64, frame_h);
    convolved(&narrow, [height, width], &down, resizer)
}

fn convolution(kernel: FilterType) -> ResizeOptions {
    ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(kernel))
        // No channel is an alpha here, and bands of a measurement must not be multiplied by one another.
        .use_alpha(false)
}

fn convolved<P: PixelTrait>(
    view: &impl ImageView<Pixel = P>,
    [height, width]: [usize; 2],
    options: &ResizeOptions,
    resizer: &mut Resizer,
) -> TypedImage<'static, P> {
    let mut resized = TypedImage::new(width as u32, height as u32);
    resizer
        .resize_typed(view, &mut resized, options)
        .expect("a frame inside the image leaves a resize no way to fail");
    resized
}

#[cfg(test)]
mod tests {
    use super::*;

    const BILINEAR: Filter = Filter::Bilinear;

    fn crop(left: usize, top: usize, width: usize, height: usize) -> Crop {
        Crop {
            left,
            top,
            width,
            height,
            flipped: false,
        }
    }

    #[test]
    fn pixels_outside_the_crop_have_no_influence() {
        for channels in [1, 2, 3, 5] {
            // Everything outside the crop is white, everything inside 10.
            let mut values = vec![255_u8; 40 * 30 * channels];
            for y in 7..20 {
                values[(y * 40 + 5) * channels..(y * 40 + 22) * channels].fill(10);
            }
            let image = Image {
                width: 40,
                height: 30,
                channels,
                samples: Samples::U8(values),
            };
            for size in [[13, 17], [6, 8], [50, 64]] {
                let resized = resize(
                    &image,
                    &crop(5, 7, 17, 13),
                    size,
                    BILINEAR,
                    &mut Scratch::new(),
                );
                let flat = vec![10; size[0] * size[1] * channels];
                assert_eq!(
                    resized,
                    Samples::U8(flat),
                    "{channels} channels to {size:?}"
                );
            }
        }
    }

    #[test]
    fn planes_and_interleaved_pixels_are_resized_alike() {
        let values: Vec<u8> = (0..37 * 23 * 3).map(|i| (i * 89 % 251) as u8).collect();
        let region = crop(3, 2, 31, 20);
        let image = |channels, values| Image {
            width: 37,
            height: 23,
            channels,
            samples: Samples::U8(values),
        };
        let mut scratch = Scratch::new();
        let rgb = image(3, values.clone());
        let Samples::U8(together) = resize(&rgb, &region, [16, 9], BILINEAR, &mut scratch) else {
            panic!("8 bits stay 8 bits");
        };
        for channel in 0..3 {
            let plane = values[channel..].iter().step_by(3).copied().collect();
            let alone = resize(&image(1, plane), &region, [16, 9], BILINEAR, &mut scratch);
            let expected = together[channel..].iter().step_by(3).copied().collect();
            assert_eq!(alone, Samples::U8(expected));
        }
    }

    #[test]
    fn sixteen_bits_keep_their_precision() {
        let image = Image {
            width: 2,
            height: 1,
            channels: 1,
            samples: Samples::U16(vec![1000, 1003]),
        };
        let resized = resize(
            &image,
            &crop(0, 0, 2, 1),
            [1, 4],
            BILINEAR,
            &mut Scratch::new(),
        );
        assert_eq!(resized, Samples::U16(vec![1000, 1001, 1002, 1003]));
    }
}
