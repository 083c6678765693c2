# ruff: noqa: E501 - the lines are as long as the official pages' lines
"""A page of the shop as html, byte for byte as the official server sends it.

The other modes do not need it: it is the format of mode `html`, and what the tests read `text` and
`text_rich` back from. The markup's own faults (wrong closing tags, blank lines) belong to it.
"""

from collections.abc import Iterable, Mapping, Sequence

from agentgym_envs.webshop.leaflets import Press
from agentgym_envs.webshop.links import Links, escaped
from agentgym_envs.webshop.pages import DONE, INDEX, ITEM, RESULTS, Page, options_json, score_text
from agentgym_envs.webshop.product import Product
from agentgym_envs.webshop.urls import Options


def render(
    page: Page,
    press: Press,
    session_id: str,
    instruction: str,
    score: float | None,
) -> str:
    """The page's html. Raises RuntimeError for a done page without its score."""
    links = Links(session_id, page)
    if page.kind == INDEX:
        return _index(links, instruction)
    if page.kind == DONE:
        return _done(page, score)
    if page.kind == RESULTS:
        rows = [press.leaflet(asin).product for asin in page.shown]
        return _framed(links, instruction, _results(links, page, rows))
    product = press.leaflet(page.asin).product
    if page.kind == ITEM:
        images: dict[str, str | None] = {
            value: None for values in product.options.values() for value in values
        }
        body = _item(links, page, product, press.sub_pages)
        script = _script(page.options, images | dict(product.option_images))
        return _framed(links, instruction, body, script)
    return _framed(links, instruction, _sub_page(links, page, product))


_OPENING = """<!DOCTYPE html>
<html>
  <head>
    <link rel="stylesheet" href="/static/style.css">
"""
_BOOTSTRAP = '    <link rel="stylesheet" href="https://maxcdn.bootstrapcdn.com/bootstrap/3.4.1/css/bootstrap.min.css">\n'
_PLAIN_HEAD = f"""{_OPENING}    <link rel="stylesheet" href="https://cdnjs.cloudflare.com/ajax/libs/font-awesome/4.7.0/css/font-awesome.min.css">
{_BOOTSTRAP}    <link rel="icon" href="data:,">
  </head>
  <body>
    <!-- Code reference: https://bootsnipp.com/snippets/m13mN -->
    <div class="container" style="margin-top: 8%;">
      <div class="col-md-6 col-md-offset-3">{" " * 5}
        <div class="row">
"""
_PLAIN_FOOT = f"""        </div>{" " * 12}
      </div>
    </div>
  </body>
</html>"""
_SHOP_HEAD = f"""{_OPENING}{_BOOTSTRAP}    <link rel="stylesheet" href="https://cdnjs.cloudflare.com/ajax/libs/font-awesome/4.0.3/css/font-awesome.css\t">
    <script src="https://ajax.googleapis.com/ajax/libs/jquery/3.5.1/jquery.min.js"></script>
    <script src="https://stackpath.bootstrapcdn.com/bootstrap/4.3.1/js/bootstrap.bundle.min.js"></script>
    <link rel="icon" href="data:,">
  </head>
  <body>
    <div class="container py-5">
"""


def _index(links: Links, instruction: str) -> str:
    return f"""{_PLAIN_HEAD}          <div id="logo" class="text-center">
            <h2>WebShop</h2>
          </div>
          <div id="instruction-text" class="text-center">
            <h4>Instruction: <br>{escaped(instruction)}</h4>
          </div>
          <form role="form" id="form-buscar" method="post" action="{links.index()}">
            <div class="form-group">
              <div class="input-group">
                <input id="search_input" class="form-control" type="text" name="search_query" placeholder="Search..." required/>
                <span class="input-group-btn">
                  <button class="btn btn-success" type="submit"><i class="glyphicon glyphicon-search" aria-hidden="true"></i>Search</button>
                </span>
              </div>
            </div>
          </form>
{_PLAIN_FOOT}"""


def _framed(links: Links, instruction: str, body: str, script: str = "") -> str:
    """A page with the instruction and the way back on top."""
    return f"""{_SHOP_HEAD}      <div class="row top-buffer">
        <div class="col-sm-6">
          <div id="instruction-text" class="text-center">
            <h4>Instruction:<br>{escaped(instruction)}</h4>
          </div>
        </div>
      </div>
      <div class="row top-buffer">
        <form method="post" action="{links.index()}">
          <button type="submit" class="btn btn-success">Back to Search</button>
        </form>
      </div>
{body}    </div>
  </body>
{script}</html>"""


def _prev(target: str) -> str:
    return f"""      <div class="row top-buffer">
        <form method="post" action="{target}">
          <button type="submit" class="btn btn-primary">&lt; Prev</button>
        </form>
      </div>
"""


def _results(links: Links, page: Page, rows: Iterable[Product]) -> str:
    back = ""
    if page.number > 1:
        back = f"""
              <form method="post" action="{links.results(page.number - 1)}">
                <button type="submit" class="btn btn-primary">&lt; Prev</button>
              </form>"""
    listed = "".join(_result(links, product) for product in rows)
    return f"""      <div class="row top-buffer">
        <div class="col-sm-8">
          <div class="display-4">
            <h3>Page {page.number} (Total results: {len(page.found)})</h3>
          </div>
{" " * 10}
            <div class="col-sm-2">{back}
            </div>
            <div class="col-sm-2">
              <form method="post" action="{links.results(page.number + 1)}">
                <button type="submit" class="btn btn-primary">Next &gt;</button>
              </form>
            </div>
{" " * 10}
        </div>
      </div>

      <div class="row top-buffer">
{" " * 8}{listed}
      </div>
"""


def _result(links: Links, product: Product) -> str:
    return f"""
        <div class="col-lg-12 mx-auto list-group-item">
          <div class="col-lg-4">
            <img src="{escaped(product.image)}" class="result-img">
          </div>
          <div class="col-lg-8">
            <ul class="list-group shadow">
                <div class="media align-items-lg-center flex-column flex-lg-row p-3">
                  <div class="media-body order-2 order-lg-1 searched-product">
{" " * 20}
                    <h4 class="mt-0 font-weight-bold mb-2 product-asin"><a class="product-link" href="{links.item(product.asin, ())}">{escaped(product.asin)}</a></h5>
                    <h4 class="mt-0 font-weight-bold mb-2 product-title">{escaped(product.title)}</h5>
                    <div class="d-flex align-items-center justify-content-between mt-1">
                      <h5 class="font-weight-bold my-2 product-price">{escaped(product.price_tag)}</h6>
                    </div>
<!--
{_column("category", product.category)}{_column("query", product.query)}{_column("product_category", product.category_path)}-->
                  </div>
                </div>
            </ul>
          </div>
        </div>
{" " * 8}"""


def _column(name: str, text: str) -> str:
    return f"""                    <div class="d-flex align-items-center justify-content-between mt-1">
                      <h5 class="font-weight-bold my-2 product-{name}">{escaped(text)}</h5>
                    </div>
"""


_BUTTON_PLACES = {
    "Description": "description",
    "Features": "bulletpoints",
    "Reviews": "reviews",
    "Attributes": "attributes",
}


def _item(links: Links, page: Page, product: Product, buttons: Sequence[str]) -> str:
    groups = "".join(
        _option_group(links, page, name, values) for name, values in product.options.items()
    )
    shown = "".join(_sub_page_button(links, name) for name in buttons)
    return f"""{_prev(links.results(page.number))}      <div class="row top-buffer">
        <div class="col-md-4 mb-4 mb-md-0">
          <div class="row top-buffer">
            <img id="product-image" src="{escaped(product.image)}" class="item-page-img">
          </div>
{" " * 10}{groups}
        </div>
        <div class="col-md-6">
          <h2>{escaped(product.title)}</h2>
          <h4>Price: {escaped(product.price_tag)}</h4>
          <h4>Rating: N.A.</h4>
          <div class="row top-buffer">
{shown}{" " * 12}
          </div>
        </div>
        <div class="col-sm-2">
          <div class="row top-buffer">
            <form method="post" action="{links.done()}">
              <button type="submit" class="btn btn-lg purchase">Buy Now</button>
            </form>
          </div>
        </div>
      </div>
"""


def _sub_page_button(links: Links, name: str) -> str:
    before = f"{' ' * 12}\n" if name == "Attributes" else ""
    return f"""{before}            <div class="col-sm-3" name="{_BUTTON_PLACES[name]}">
              <form method="post" action="{links.sub_page(name)}">
                <button class="btn btn-primary" type="submit">{name}</button>
              </form>
            </div>
"""


def _option_group(links: Links, page: Page, name: str, values: Sequence[str]) -> str:
    shown = "".join(
        _option(links, page, name, value, number) for number, value in enumerate(values)
    )
    return f"""
            <div class="row top-buffer">
              <h4>{escaped(name)}</h4>
              <div class="radio-toolbar">
{" " * 16}{shown}
              </div>
            </div>
{" " * 10}"""


def _option(links: Links, page: Page, name: str, value: str, number: int) -> str:
    chosen = tuple({**dict(page.options), name: value}.items())
    radio = f"radio_{escaped(name)}{number}"
    blank = " " * 18
    return f"""
{blank}
{blank}
{blank}
{blank}<input type="radio" id="{radio}" name="{escaped(name)}" value="{escaped(value)}" data-url="{links.item(page.asin, chosen)}">
{blank}<label for="{radio}">{escaped(value)}</label>
{" " * 16}"""


def _script(options: Options, images: Mapping[str, str | None]) -> str:
    return f"""  <script>
    $(document).ready(function() {{
      $('input:radio').each(function() {{
        //console.log($(this).val());
        let options = JSON.parse(`{options_json(dict(options))}`);
        let optionValues = $.map(options, function(value, key) {{ return value }});
        //console.log(optionValues);
        if (optionValues.includes($(this).val())) {{
          $(this).prop('checked', true);

          let option_to_image = JSON.parse(`{options_json(images)}`);
//          console.log($(this).val());
//          console.log(options);
//          console.log(option_to_image);
          let image_url = option_to_image[$(this).val()];

          //console.log(image_url);
          if (image_url) {{
            $("#product-image").attr("src", image_url);
          }}
        }}
{" " * 8}
        // reload with updated options
        this.addEventListener("click", function() {{
          window.location.href = this.dataset.url;
        }});

      }});
    }});
  </script>
"""


def _sub_page(links: Links, page: Page, product: Product) -> str:
    if page.kind == "attributes":
        place, content = "description", _points("attribute", product.attributes)
    elif page.kind == "description":
        place = "description"
        content = f'                <p class="product-info">{escaped(product.description)}</p>\n'
    elif page.kind == "features":
        place, content = "bulletpoints", _points("product-info", product.bullets)
    else:
        place, content = "reviews", f"{' ' * 16}\n"
    beside = _attribute_columns(product) if page.kind == "attributes" else ""
    return f"""{_prev(links.item(page.asin, page.options))}      <div class="row top-buffer">
        <div class="col-md-12">
          <div class="row top-buffer">
            <div class="col-sm-6" name="{place}">
              <div class="card card-body">
{content}              </div>
            </div>
{beside}          </div>
        </div>
      </div>
"""


def _points(style: str, texts: Iterable[str]) -> str:
    blank = " " * 18
    listed = "".join(
        f'\n{blank}<li><p class="{style}"> {escaped(text)}</p></li>\n{blank}' for text in texts
    )
    return f"                <ul>\n{blank}{listed}\n                </ul>\n"


def _attribute_columns(product: Product) -> str:
    columns = (
        ("category", product.category),
        ("query", product.query),
        ("product_category", product.category_path),
    )
    shown = "".join(
        f"""              <div class="d-flex align-items-center justify-content-between mt-1">
                <h5 class="font-weight-bold my-2 product-{name}">{escaped(text)}</h5>
              </div>
"""
        for name, text in columns
    )
    return f"""            <div class="col-sm-6" name="description">
{shown}            </div>
"""


def _done(page: Page, score: float | None) -> str:
    return f"""{_PLAIN_HEAD}          <div id="thankyou" class="text-center">
            <h1>Thank you for shopping with us!</h1>
          </div>
          <div id="stats" class="text-center">
            <h3 align="mturk_code">Your code: </h3>
            <p><pre>None</pre> (Paste it in your MTurk interface.)</p>
            <div style="display:none">
              <h2 align="left">Purchased</h2>
              <hr class="solid">
              <h4 id="asin">asin<pre>{escaped(page.asin)}</pre></p>
              <h4 id="options">options<pre>{options_json(dict(page.options))}</pre></h4>
              <h4 id="purchased_attrs">attrs<pre>None</pre></h4>
              <h4 id="purchased-category">category<pre>None</pre></h4>
              <h4 id="purchased-query">query<pre>None</pre></h4>
              <h4 id="purchased-pc">product category<pre>None</pre></h4>
              <h2 align="left">Target</h2>
              <hr class="solid">
              <h4 id="goal-asin">asin<pre></pre></p>
              <h4 id="goal-options">options<pre></pre></h4>
              <h4 id="goal-attrs">attrs<pre></pre></h4>
              <h4 id="goal-price">price upper<pre></pre></h4>
              <h4 id="goal-instruction-text">instuction text<pre></pre></h4>
              <h4 id="goal-category">category<pre></pre></h4>
              <h4 id="goal-pc">product category<pre></pre></h4>
              <h4 id="goal-query">query<pre></pre></h4>
              <h4>Goal <div id="goal"><pre>None</pre></div></h4>
              <h2 align="left">Reward</h2>
            </div>
            <hr class="solid">
      \t\t\t<h3   id="reward">Your score (min 0.0, max 1.0)<pre>{score_text(score)}</pre></h3>
            <h4 hidden>Reward Details <div id="reward_info"><pre>None</pre></div></h4>
          </div>
{_PLAIN_FOOT}"""
