/** Connect unary calls in JSON, to the server that served the page and to nobody else. */

export class ApiError extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, message: string, status: number) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.status = status;
  }
}

/**
 * POST one request and parse the reply.
 *
 * @throws ApiError for an error reply (its Connect code and message) and, with code "unavailable", when no server
 *   answered. An aborted call rejects with the AbortError of fetch.
 */
export async function call<Reply>(procedure: string, request: object, signal: AbortSignal): Promise<Reply> {
  let response: Response;
  try {
    response = await fetch(new URL(procedure, document.baseURI), {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "Connect-Protocol-Version": "1",
        // Else the server keeps label names like `otel.scope.name` to itself.
        Accept: "application/json; allow-utf8-labelnames=true",
      },
      body: JSON.stringify(request),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError("unavailable", "The server does not answer. Is it running?", 0);
  }
  if (!response.ok) throw await errorOf(response);
  return (await response.json()) as Reply;
}

async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    const body = JSON.parse(text) as { code?: string; message?: string };
    return new ApiError(body.code ?? "unknown", body.message ?? response.statusText, response.status);
  } catch {
    return new ApiError("unknown", `The server answered ${response.status} ${response.statusText}`, response.status);
  }
}
