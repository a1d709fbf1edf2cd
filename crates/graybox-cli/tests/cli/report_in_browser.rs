//! The report as people see it: in a browser, in the light, in the dark and on a phone.
//!
//! With `GRAYBOX_PICTURES=FOLDER` the pictures are left there to be looked at.

use crate::browser::{Browser, Look};
use crate::desk::Desk;

const LOOKS: [Look; 3] = [
    Look {
        name: "light",
        scheme: "light",
        width: 1280,
    },
    Look {
        name: "dark",
        scheme: "dark",
        width: 1280,
    },
    Look {
        name: "phone",
        scheme: "light",
        width: 390,
    },
];

/// What sticks out of the page, or out of its chart.
const STICKS_OUT: &str = "
    (() => {
        const room = document.documentElement.clientWidth;
        const wide = [...document.querySelectorAll('body *')].filter(
            e => !e.closest('pre') && e.getBoundingClientRect().right > room + 1
        );
        const cut = [...document.querySelectorAll('svg text')].filter(text => {
            const t = text.getBoundingClientRect(), s = text.closest('svg').getBoundingClientRect();
            return t.left < s.left - 1 || t.right > s.right + 1 || t.top < s.top - 1 || t.bottom > s.bottom + 1;
        });
        return [...wide, ...cut].map(e => e.tagName + ' ' + e.textContent.slice(0, 60));
    })()";

/// The least contrast between text and what is behind it, by the formula of WCAG 2.
const CONTRAST: &str = "
    (() => {
        const numbers = colour => colour.match(/[0-9.]+/g).map(Number);
        const light = colour => {
            const [r, g, b] = numbers(colour).slice(0, 3).map(c => {
                c /= 255;
                return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const behind = e => {
            for (; e; e = e.parentElement) {
                const colour = getComputedStyle(e).backgroundColor;
                if (numbers(colour)[3] !== 0) return colour;
            }
            return 'rgb(255, 255, 255)';
        };
        return Math.min(...[...document.querySelectorAll('h1, h2, p, b, td, pre, figcaption, .soft, svg text')].map(e => {
            const style = getComputedStyle(e);
            const [a, b] = [light(e.closest('svg') ? style.fill : style.color), light(behind(e))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        }));
    })()";

#[test]
fn a_report_is_readable_in_the_light_in_the_dark_and_on_a_phone() {
    let Some(mut browser) = Browser::open() else {
        return;
    };
    let desk = Desk::with_settings();
    desk.ok("train run.toml --calls 160 --seeds 1,2,3 --out well");
    desk.fails_beyond("0.35");
    desk.run("train run.toml --calls 320 --out failing");
    for run in ["well", "failing"] {
        let page = desk.path(run).join("report.html");
        for look in LOOKS {
            let told = browser.load(&page, look);
            assert!(told.is_empty(), "{run}, {}: {told:#?}", look.name);
            let colour = browser.value("getComputedStyle(document.body).backgroundColor");
            assert_eq!(
                colour == "rgb(255, 255, 255)",
                look.scheme == "light",
                "{colour}"
            );
            let out = browser.value(STICKS_OUT);
            assert_eq!(out, serde_json::json!([]), "{run}, {}", look.name);
            let contrast = browser.value(CONTRAST).as_f64().unwrap();
            assert!(contrast >= 4.5, "{run}, {}: {contrast}", look.name);
            let charts = browser.value("document.querySelectorAll('svg').length");
            assert!(charts.as_u64() >= Some(4), "{charts}");
            let picture = browser.picture();
            assert!(picture.starts_with(b"\x89PNG"));
            if let Some(folder) = std::env::var_os("GRAYBOX_PICTURES") {
                let path = std::path::Path::new(&folder).join(format!("{run}-{}.png", look.name));
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(path, picture).unwrap();
            }
        }
    }
}
