"""A page of your application that leads its users to their API keys: pip install flask requests, then flask --app app run."""

import os

import requests
from flask import Flask, abort, redirect, session, url_for

app = Flask(__name__)
app.secret_key = os.environ["APP_SECRET"]
KEYGATE = os.environ.get("KEYGATE_ADMIN", "http://127.0.0.1:9180")
TOKEN = os.environ["KEYGATE_TOKEN"]  # of the role `operator`; it never leaves this server


@app.get("/settings")
def settings():
    return f'<h1>Settings</h1><form method="post" action="{url_for("api_keys")}"><button>API keys</button></form>'


@app.post("/settings/api-keys")
def api_keys():
    customer = session.get("customer") or abort(401)  # whoever has signed in to your application
    answer = requests.post(
        f"{KEYGATE}/v1/portal-sessions",
        headers={"Authorization": f"Bearer {TOKEN}"},
        json={"owner": customer["id"], "display_name": customer["name"], "return_url": url_for("settings", _external=True)},
        timeout=5,
    )
    answer.raise_for_status()
    return redirect(answer.json()["url"], code=303)  # works once, within a minute: make it on the click, not before
