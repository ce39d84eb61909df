"""The routes. A middleware tags each request with its route, which is all that the flame graph's labels
need."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

import flamewire
from shop.catalogue import Catalogue
from shop.checkout import Basket, price, receipt
from shop.search import SearchIndex, highlight
from shop.thumbnail import thumbnail_png

CATALOGUE = web.AppKey("catalogue", Catalogue)
INDEX = web.AppKey("index", SearchIndex)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app() -> web.Application:
    """Return the application with a filled catalogue."""
    app = web.Application(middlewares=[tag_route])
    app[CATALOGUE] = Catalogue.filled(products=1200)
    app[INDEX] = SearchIndex(app[CATALOGUE].descriptions())
    app.router.add_get("/", show_home)
    app.router.add_get("/search", search)
    app.router.add_get("/product/{id}", show_product)
    app.router.add_get("/product/{id}/thumbnail", show_thumbnail)
    app.router.add_post("/cart", fill_cart)
    app.router.add_post("/checkout", check_out)
    return app


@web.middleware
async def tag_route(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Label all samples of a request with its route's pattern, in whatever task or thread they are taken."""
    resource = request.match_info.route.resource
    with flamewire.tags(route=resource.canonical if resource else "unknown", method=request.method):
        return await handler(request)


async def show_home(request: web.Request) -> web.Response:
    """List what sells best."""
    return web.json_response({"featured": request.app[CATALOGUE].best_sellers(40)})


async def search(request: web.Request) -> web.Response:
    """Rank the products by the words of the query."""
    query = request.query.get("q", "")
    hits = []
    for number, score in request.app[INDEX].rank(query, limit=20):
        product = request.app[CATALOGUE].product(number)
        hits.append(
            {"score": score, "text": highlight(str(product["description"]), query), "product": product}
        )
    return web.json_response({"hits": hits})


async def show_product(request: web.Request) -> web.Response:
    """Show one product and what others bought with it."""
    number = product_number(request)
    catalogue = request.app[CATALOGUE]
    return web.json_response({"product": catalogue.product(number), "related": catalogue.related(number, 12)})


async def show_thumbnail(request: web.Request) -> web.Response:
    """Draw the product's picture on a worker thread; to_thread takes the request's tags along."""
    png = await asyncio.to_thread(thumbnail_png, product_number(request), 96)
    return web.Response(body=png, content_type="image/png")


async def fill_cart(request: web.Request) -> web.Response:
    """Check a basket line by line."""
    basket = Basket.from_json(await request.text(), request.app[CATALOGUE])
    return web.json_response({"lines": len(basket.lines), "net": str(basket.net)})


async def check_out(request: web.Request) -> web.Response:
    """Price a basket and answer with a compressed, signed receipt."""
    basket = Basket.from_json(await request.text(), request.app[CATALOGUE])
    body, signature = receipt(basket, price(basket))
    return web.Response(
        body=body, headers={"X-Signature": signature}, content_type="application/octet-stream"
    )


def product_number(request: web.Request) -> int:
    """Return the number in the path; 404 where there is no such product."""
    text = request.match_info["id"]
    if not text.isdecimal() or int(text) not in request.app[CATALOGUE]:
        raise web.HTTPNotFound(text=json.dumps({"error": f"no product {text}"}))
    return int(text)
